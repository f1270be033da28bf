//! The `rcu-watch` command.

fn main() {}
