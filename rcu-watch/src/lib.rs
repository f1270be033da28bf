//! rcu-watch.
