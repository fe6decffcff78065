//! Resources to compiled tables; endpoints and host routes
