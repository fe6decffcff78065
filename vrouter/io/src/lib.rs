//! Devices and system calls: TAP, TUN, UDP, raw IP, netlink
