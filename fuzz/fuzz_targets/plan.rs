//! The planner: any shape, any chunks, any selection, sound or not.

#![no_main]

filebackedarray_fuzz::target!("plan");
