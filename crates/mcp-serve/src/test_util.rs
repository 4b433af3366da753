//! A server on a free port and small clients of both eras, for tests.
