//! Medians, distributions, what a ratio is, and whether two sets of figures differ.
//!
//! [`Estimate`] is Hodges and Lehmann's of 1963, on logarithms: the median of the means of all
//! pairs of rounds. One round that went wrong moves it little, as with a median, but where noise is
//! normal it needs a third fewer rounds to be as near. Its interval is that of Wilcoxon's
//! signed-rank test (1945) and asks of the noise only that it be symmetric.
//!
//! [`difference`] is Welch's t test on logarithms: figures of this kind scatter by factors, not by
//! amounts. [`holm`] corrects for asking about many figures at once (Holm 1979), so that noise
//! alone seldom makes one of them look like a change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The middle, the least and the most of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many there were.
    pub count: usize,
}

impl Spread {
    /// Of these figures, if there are any.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: median_of_sorted(&sorted)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
            count: sorted.len(),
        })
    }

    /// The width of the range, as a part of the median.
    pub fn width(&self) -> f64 {
        if self.median == 0.0 {
            0.0
        } else {
            (self.max - self.min) / self.median
        }
    }
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some(f64::midpoint(sorted[middle - 1], upper))
    } else {
        Some(upper)
    }
}

/// What a ratio most likely is, and between which bounds it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// Hodges and Lehmann's estimate: the figure to cite.
    pub value: f64,
    /// The lower end of its confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How sure the interval is: at least 0.95 from six figures on. Fewer never allow that; then it
    /// is that of the widest interval, from the least figure to the most.
    pub confidence: f64,
}

impl Estimate {
    /// From these figures, if any are positive; others have no logarithm and are left out.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let figures = logarithms(figures);
        // Walsh's averages: of each two figures, and of each with itself.
        let mut averages = Vec::with_capacity(figures.len() * (figures.len() + 1) / 2);
        for (at, figure) in figures.iter().enumerate() {
            averages.extend(
                figures[at..]
                    .iter()
                    .map(|other| f64::midpoint(*figure, *other)),
            );
        }
        averages.sort_by(f64::total_cmp);
        let (outside, confidence) = signed_rank(figures.len());
        let last = averages.len().checked_sub(1)?;
        Some(Self {
            value: median_of_sorted(&averages)?.exp(),
            low: averages.get(outside)?.exp(),
            high: averages.get(last.checked_sub(outside)?)?.exp(),
            confidence,
        })
    }

    /// Of the ratio the other way round.
    pub fn inverse(&self) -> Self {
        Self {
            value: 1.0 / self.value,
            low: 1.0 / self.high,
            high: 1.0 / self.low,
            confidence: self.confidence,
        }
    }
}

/// How many of the sorted Walsh averages of `count` figures lie outside a confidence interval of
/// 95 % on each side, and how sure the interval is. As many as the signed-rank test's two-sided 5 %
/// critical value: the largest sum of ranks that chance falls short of or meets at most once in 40.
fn signed_rank(count: usize) -> (usize, f64) {
    const TAIL: f64 = 0.025;
    if count > 50 {
        // The normal distribution is near enough.
        let n = count as f64;
        let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
        let outside = n * (n + 1.0) / 4.0 - 1.959_964 * deviation - 0.5;
        return (outside as usize, 1.0 - 2.0 * TAIL);
    }
    // The chance of each sum, with a sign for one rank after the other.
    let mut chances = vec![1.0];
    for rank in 1..=count {
        let mut next = vec![0.0; chances.len() + rank];
        for (sum, chance) in chances.iter().enumerate() {
            next[sum] += chance / 2.0;
            next[sum + rank] += chance / 2.0;
        }
        chances = next;
    }
    let mut tail = chances[0];
    let mut outside = 0;
    while let Some(more) = chances.get(outside + 1)
        && tail + more <= TAIL
    {
        tail += more;
        outside += 1;
    }
    (outside, 1.0 - 2.0 * tail.min(0.5))
}

/// The logarithms of those that have one.
fn logarithms(figures: &[f64]) -> Vec<f64> {
    let positive = figures.iter().filter(|figure| **figure > 0.0);
    positive.map(|figure| figure.ln()).collect()
}

/// Latencies, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Their mean.
    pub average: f64,
    /// Half are at most this.
    pub p50: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// 99.9 % are at most this.
    pub p999: f64,
    /// Points of the curve: a latency, and the part of all that are at most this.
    pub cdf: Vec<(f64, f64)>,
}

/// Of these latencies, in any order.
pub fn distribution(mut microseconds: Vec<f64>) -> Distribution {
    microseconds.sort_by(f64::total_cmp);
    let count = microseconds.len();
    if count == 0 {
        return Distribution::default();
    }
    let at = |part: f64| {
        let index = (part * count as f64).ceil() as usize;
        let value = microseconds[index.clamp(1, count) - 1];
        (value * 1000.0).round() / 1000.0
    };
    let parts = (1..=49)
        .map(|n| f64::from(n) / 50.0)
        .chain([0.99, 0.995, 0.999, 0.9999, 1.0]);
    Distribution {
        average: microseconds.iter().sum::<f64>() / count as f64,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        cdf: parts.map(|part| (at(part), part)).collect(),
    }
}

/// How two sets of figures differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The new ones' geometric mean by the old ones'.
    pub factor: f64,
    /// The chance of a difference at least this large if nothing had changed.
    pub p: f64,
}

/// Welch's t test on logarithms, both sides. `None` when there are fewer than two positive figures
/// on a side: one round tells nothing about its own noise.
pub fn difference(old: &[f64], new: &[f64]) -> Option<Difference> {
    let (old, new) = (logarithms(old), logarithms(new));
    if old.len() < 2 || new.len() < 2 {
        return None;
    }
    let (mean_old, part_old) = mean_and_part(&old);
    let (mean_new, part_new) = mean_and_part(&new);
    let factor = (mean_new - mean_old).exp();
    let variance = part_old + part_new;
    if variance <= f64::EPSILON {
        let p = if (factor - 1.0).abs() < 1e-9 {
            1.0
        } else {
            0.0
        };
        return Some(Difference { factor, p });
    }
    let t = (mean_new - mean_old) / variance.sqrt();
    let freedom = variance * variance
        / (part_old * part_old / (old.len() - 1) as f64
            + part_new * part_new / (new.len() - 1) as f64);
    Some(Difference {
        factor,
        p: beta(freedom / 2.0, 0.5, freedom / (freedom + t * t)),
    })
}

/// The mean, and the variance of the mean.
fn mean_and_part(figures: &[f64]) -> (f64, f64) {
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let squares: f64 = figures.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// The chances of many tests, each raised so that the chance that any of them misleads stays what
/// the least of them says.
pub fn holm(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut corrected = vec![1.0; chances.len()];
    let mut floor = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let left = (chances.len() - rank) as f64;
        floor = floor.max(chances[index] * left).min(1.0);
        corrected[index] = floor;
    }
    corrected
}

/// The regularised incomplete beta function, by its continued fraction (modified Lentz; Abramowitz
/// and Stegun 26.5.8).
fn beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(b, a, 1.0 - x);
    }
    let front =
        (gamma_ln(a + b) - gamma_ln(a) - gamma_ln(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..300 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut last = 1.0;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            last = c * d;
            fraction *= last;
        }
        if (last - 1.0_f64).abs() < 1e-12 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// The logarithm of the gamma function for positive numbers: Stirling's series, after moving up.
fn gamma_ln(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]).unwrap().median, 2.0);
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of(&[]), None);
    }

    /// As in the tables for two sides and 5 %, such as Hollander and Wolfe's.
    #[test]
    fn critical_values_are_those_of_the_tables() {
        for (count, value) in [
            (6, 0),
            (7, 2),
            (8, 3),
            (9, 5),
            (10, 8),
            (15, 25),
            (20, 52),
            (25, 89),
            (30, 137),
            (40, 264),
            (50, 434),
        ] {
            let (outside, confidence) = signed_rank(count);
            assert_eq!(outside, value, "{count}");
            assert!((0.95..0.97).contains(&confidence), "{count}: {confidence}");
        }
        // No step where the normal distribution takes over.
        assert_eq!(signed_rank(51), (453, 0.95));
    }

    #[test]
    fn few_figures_have_the_widest_interval_and_say_so() {
        for (figures, confidence) in [
            (&[1.5][..], 0.0),
            (&[2.0, 1.0], 0.5),
            (&[2.0, 1.0, 1.5], 0.75),
            (&[1.0, 1.1, 1.2, 1.3, 1.5], 0.9375),
            (&[1.0, 1.1, 1.2, 1.3, 1.5, 1.4], 0.968_75),
        ] {
            let found = Estimate::of(figures).unwrap();
            let spread = Spread::of(figures).unwrap();
            assert!((found.low - spread.min).abs() < 1e-12, "{found:?}");
            assert!((found.high - spread.max).abs() < 1e-12, "{found:?}");
            assert_eq!(found.confidence, confidence);
        }
        let two = Estimate::of(&[1.0, 4.0]).unwrap();
        assert!((two.value - 2.0).abs() < 1e-12, "{two:?}");
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[0.0]), None);
    }

    /// Hollander and Wolfe's example 3.1: nine patients before and after. They give 0.46 and, for
    /// 96 %, 0.01 to 0.786.
    #[test]
    fn a_published_example_comes_out() {
        let differences: [f64; 9] = [0.952, -0.147, 1.022, 0.43, 0.62, 0.59, 0.49, -0.08, 0.01];
        let found = Estimate::of(&differences.map(f64::exp)).unwrap();
        for (found, published) in [
            (found.value.ln(), 0.46),
            (found.low.ln(), 0.01),
            (found.high.ln(), 0.786),
            (found.confidence, 0.961),
        ] {
            assert!((found - published).abs() < 1e-3, "{found} {published}");
        }
    }

    #[test]
    fn one_round_that_went_wrong_moves_an_estimate_little() {
        let calm = [1.18, 1.22, 1.19, 1.21, 1.20, 1.20, 1.23, 1.17];
        let before = Estimate::of(&calm).unwrap();
        for outlier in [0.01, 100.0] {
            let mut figures = calm;
            figures[3] = outlier;
            let found = Estimate::of(&figures).unwrap();
            let moved = (found.value / before.value).ln().abs();
            assert!(moved < 0.01, "{found:?}");
        }
    }

    #[test]
    fn the_other_way_round_is_the_inverse() {
        let figures = [1.1, 1.4, 0.9, 1.3, 1.2, 1.0, 1.5];
        let found = Estimate::of(&figures.map(|figure| 1.0 / figure)).unwrap();
        let inverse = Estimate::of(&figures).unwrap().inverse();
        for (found, inverse) in [
            (found.value, inverse.value),
            (found.low, inverse.low),
            (found.high, inverse.high),
        ] {
            assert!((found - inverse).abs() < 1e-12);
        }
    }

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let all = distribution((1..=1000).rev().map(f64::from).collect());
        assert_eq!((all.p50, all.p99, all.p999), (500.0, 990.0, 999.0));
        assert_eq!(all.average, 500.5);
        assert!(all.cdf.is_sorted_by(|a, b| a.0 <= b.0 && a.1 < b.1));
        assert_eq!(all.cdf.last().unwrap(), &(1000.0, 1.0));
    }

    /// Student's t at known points: the two-sided 5 % and 1 % of tables.
    #[test]
    fn student_s_t_is_that_of_the_tables() {
        for (freedom, t, p) in [
            (1.0, 12.706_f64, 0.05),
            (4.0, 2.776, 0.05),
            (8.0, 3.355, 0.01),
            (30.0, 2.750, 0.01),
            (8.0, 0.0, 1.0),
        ] {
            let found = beta(freedom / 2.0, 0.5, freedom / (freedom + t * t));
            assert!((found - p).abs() < 2e-4, "{freedom} {t}: {found}");
        }
    }

    #[test]
    fn a_shift_is_seen_and_the_same_is_not() {
        let old = [100.0, 102.0, 98.0, 101.0, 99.0];
        let slow = [80.0, 81.0, 79.0, 82.0, 80.0];
        let found = difference(&old, &slow).unwrap();
        assert!(
            found.p < 1e-4 && (found.factor - 0.804).abs() < 0.01,
            "{found:?}"
        );
        assert!(difference(&old, &[99.0, 101.0, 100.0]).unwrap().p > 0.5);
        assert_eq!(difference(&old, &[80.0]), None);
    }

    #[test]
    fn holm_raises_the_least_most() {
        let corrected = holm(&[0.01, 0.04, 0.03]);
        for (found, wanted) in corrected.iter().zip([0.03, 0.06, 0.06]) {
            assert!((found - wanted).abs() < 1e-12, "{corrected:?}");
        }
    }
}
