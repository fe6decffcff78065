//! The packet path: buffers, tables, nodes and the worker's turn
