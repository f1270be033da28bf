//! Set-up, build, the QEMU lab and the release of rcu-watch.

fn main() {}
