//! The arguments of both programs.
