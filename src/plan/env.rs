//! Which environment variables cross, and why each does.
