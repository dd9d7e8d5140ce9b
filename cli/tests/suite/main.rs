//! `majjen`, run as a user would, on programs that hang in known ways.

mod graph;
mod hostile;
mod manual;
mod problems;
mod ps;
mod stacks;
mod storm;
mod support;
mod table;
mod top;
mod trace;
