/// What each kind of fleet wants written into the two legs of a request: pure functions from JSON to JSON.
///
/// May depend on: `discovery`.
@NullMarked
package dev.baton.router.backend;

import org.jspecify.annotations.NullMarked;
