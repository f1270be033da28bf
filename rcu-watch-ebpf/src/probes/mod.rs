//! The entry points, one file a probe family.

mod calibrate;
mod checkpoint;
mod entry;
mod function;
mod idle;
mod nmi;
mod registers;
mod self_test;
mod watchpoint;
