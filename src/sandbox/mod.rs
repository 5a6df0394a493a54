//! An Omni stand-in.
