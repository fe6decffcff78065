//! The control socket's protocol: types shared by daemon and clients
