//! Calico's policy model compiled to verdicts, and the flow table behind it
