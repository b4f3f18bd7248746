//! Which host directories the guest sees, and which are refused.
