//! What a newer Calico wrote into a value and we do not know survives our change of it.
//!
//! Three values are compared: what is there, what of it we know (read and written again), and
//! what is to be there. A field that is there without being known goes along; one that is known
//! and no longer wanted goes away.

use serde_json::Value;

/// Adds to `new` what `there` has beyond `known`, which is `there` as we understand it.
pub(super) fn unknown(new: &mut Value, there: &Value, known: &Value) {
    match (new, there, known) {
        (Value::Object(new), Value::Object(there), Value::Object(known)) => {
            for (name, value) in there {
                match (new.get_mut(name), known.get(name)) {
                    (Some(new), Some(known)) => unknown(new, value, known),
                    (None, None) => {
                        new.insert(name.clone(), value.clone());
                    }
                    // Ours to change and ours to remove.
                    (Some(_), None) | (None, Some(_)) => {}
                }
            }
        }
        (Value::Array(new), Value::Array(there), Value::Array(known))
            if there.len() == known.len() =>
        {
            // An item that stays as it was keeps what it had; lists are short.
            for item in new {
                if let Some(at) = known.iter().position(|known| known == item) {
                    unknown(item, &there[at], &known[at]);
                }
            }
        }
        // Of another shape than before, or nothing that could hold fields.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_stays_and_what_is_known_goes() {
        let there = json!({
            "spec": {"bgp": {"asNumber": 1, "newer": 2}, "list": [{"a": 1, "x": 1}, {"a": 2, "x": 2}]},
            "status": {"deep": [1]}
        });
        let known = json!({"spec": {"bgp": {"asNumber": 1}, "list": [{"a": 1}, {"a": 2}]}});
        let kept = |mut new: Value| {
            unknown(&mut new, &there, &known);
            new
        };
        assert_eq!(
            kept(json!({"spec": {"bgp": {}, "list": [{"a": 2}, {"a": 3}]}})),
            json!({
                "spec": {"bgp": {"newer": 2}, "list": [{"a": 2, "x": 2}, {"a": 3}]},
                "status": {"deep": [1]}
            })
        );
        // Whoever removes a whole known part removes what is in it.
        assert_eq!(
            kept(json!({"spec": {"other": true}})),
            json!({"spec": {"other": true}, "status": {"deep": [1]}})
        );
        assert_eq!(kept(known.clone()), there);
    }
}
