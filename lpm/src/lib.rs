//! Longest-prefix match tables, updated while they are read
