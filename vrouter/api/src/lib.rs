//! The projectcalico.org/v3 resource kinds: parse, default, validate, print
