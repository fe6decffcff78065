//! Charts as inline SVG, coloured by the page's classes `s0`, `s1`, …: bars with ranges, curves
//! over a logarithmic axis.

use std::fmt::Write as _;

/// Width of all charts; the page scales them.
const WIDTH: f64 = 640.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 110.0;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Whose, as a class number.
    pub class: usize,
    /// Beside it.
    pub label: String,
    pub value: f64,
    /// The range around it.
    pub range: (f64, f64),
    /// Behind it.
    pub text: String,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Whose, as a class number.
    pub class: usize,
    pub label: String,
    /// Points, by growing abscissa.
    pub points: Vec<(f64, f64)>,
}

/// Text that may stand in HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Horizontal bars with whiskers from the least to the most.
pub fn bars(title: &str, all: &[Bar]) -> String {
    let most = all
        .iter()
        .map(|bar| bar.range.1.max(bar.value))
        .fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LEFT - RIGHT) / most
    } else {
        0.0
    };
    let height = 22.0 * all.len() as f64 + 6.0;
    let mut svg = open(title, height);
    for (row, bar) in all.iter().enumerate() {
        let top = 22.0 * row as f64 + 4.0;
        let middle = top + 8.0;
        let end = LEFT + bar.value * scale;
        let (least, most) = (LEFT + bar.range.0 * scale, LEFT + bar.range.1 * scale);
        let _infallible = write!(
            svg,
            "<g><title>{}</title><text x=\"{:.0}\" y=\"{:.1}\" class=\"l\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"16\" class=\"s{}\"/>\
             <path d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {:.1}v8M{most:.1} {:.1}v8\" \
             class=\"w\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(&format!("{}: {}", bar.label, bar.text)),
            LEFT - 8.0,
            middle + 4.0,
            escape(&bar.label),
            (end - LEFT).max(1.0),
            bar.class,
            middle - 4.0,
            middle - 4.0,
            most.max(end) + 6.0,
            middle + 4.0,
            escape(&bar.text),
        );
    }
    svg + "</svg>"
}

/// How the ordinate of curves is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordinate {
    /// From nothing to the whole.
    Parts,
    /// From zero to the largest figure.
    Figures,
}

/// Curves over a logarithmic abscissa.
pub fn curves(title: &str, abscissa: &str, ordinate: Ordinate, all: &[Curve]) -> String {
    let (left, top, right, bottom) = (64.0, 10.0, WIDTH - 12.0, 240.0);
    let points = || all.iter().flat_map(|curve| &curve.points);
    let least = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let low = if least.is_finite() {
        least.max(1e-3)
    } else {
        1.0
    };
    let high = points().map(|p| p.0).fold(low, f64::max).max(low * 1.001);
    let most = match ordinate {
        Ordinate::Parts => 1.0,
        Ordinate::Figures => points().map(|p| p.1).fold(0.0, f64::max).max(1e-9) * 1.05,
    };
    let x = |value: f64| left + (value.max(low) / low).ln() / (high / low).ln() * (right - left);
    let y = |value: f64| bottom - value / most * (bottom - top);
    let mut svg = open(title, bottom + 40.0);
    for at in ticks(low, high) {
        let _infallible = write!(
            svg,
            "<path d=\"M{0:.1} {top}V{bottom}\" class=\"g\"/><text x=\"{0:.1}\" y=\"{1:.1}\" \
             class=\"m\">{2}</text>",
            x(at),
            bottom + 15.0,
            short(at)
        );
    }
    for quarter in 0..=4 {
        let value = most * f64::from(quarter) / 4.0;
        let text = match ordinate {
            Ordinate::Parts => format!("{:.0} %", value * 100.0),
            Ordinate::Figures => short(value),
        };
        let _infallible = write!(
            svg,
            "<path d=\"M{left} {0:.1}H{right}\" class=\"g\"/><text x=\"{1:.1}\" y=\"{2:.1}\" \
             class=\"l\">{text}</text>",
            y(value),
            left - 6.0,
            y(value) + 4.0
        );
    }
    for curve in all {
        let line: Vec<String> = curve
            .points
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let _infallible = write!(
            svg,
            "<polyline points=\"{}\" class=\"c c{}\"><title>{}</title></polyline>",
            line.join(" "),
            curve.class,
            escape(&curve.label)
        );
        if ordinate == Ordinate::Figures {
            for point in &curve.points {
                let _infallible = write!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" class=\"s{}\"><title>{}: {}: \
                     {}</title></circle>",
                    x(point.0),
                    y(point.1),
                    curve.class,
                    escape(&curve.label),
                    short(point.0),
                    short(point.1)
                );
            }
        }
    }
    let _infallible = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" class=\"m\">{}</text></svg>",
        f64::midpoint(left, right),
        bottom + 33.0,
        escape(abscissa)
    );
    svg
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>",
        escape(title)
    )
}

/// 1, 2 and 5 times the powers of ten between two numbers; the powers alone when those are many.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let steps: &[f64] = if high / low > 2e3 {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    decades
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .filter(|at| (low * 0.999..=high * 1.001).contains(at))
        .collect()
}

fn short(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, unit) = if magnitude >= 1e6 {
        (value / 1e6, "M")
    } else if magnitude >= 1e3 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    let text = format!("{scaled:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_inside_and_numbers_are_short() {
        assert_eq!(ticks(8.0, 110.0), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(ticks(1.0, 1e6).len(), 7);
        assert_eq!(short(1_500_000.0), "1.5M");
        assert_eq!(short(10_000.0), "10k");
        assert_eq!(short(0.25), "0.25");
    }

    #[test]
    fn hostile_names_do_not_leave_their_place() {
        let bar = Bar {
            class: 0,
            label: "<script>\"".to_owned(),
            value: 1.0,
            range: (1.0, 1.0),
            text: "1".to_owned(),
        };
        let svg = bars("a & b", &[bar]);
        assert!(
            !svg.contains("<script>") && svg.contains("a &amp; b"),
            "{svg}"
        );
    }

    #[test]
    fn a_chart_of_nothing_has_finite_numbers() {
        let empty = Curve {
            class: 0,
            label: String::new(),
            points: Vec::new(),
        };
        for svg in [
            bars("none", &[]),
            curves("none", "µs", Ordinate::Figures, &[empty]),
        ] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
