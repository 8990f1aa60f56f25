/// What each kind of fleet wants written into the two legs of a request: pure functions from JSON to JSON, and
/// beside them listeners for what prefillers of some kinds announce.
///
/// May depend on: `discovery`, `http`, `wire`.
@NullMarked
package dev.baton.router.backend;

import org.jspecify.annotations.NullMarked;
