pub mod calibrate;
