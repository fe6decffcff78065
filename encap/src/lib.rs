//! Tunnel headers, checksums, segmentation, coalescing and fragments
