/// Which engines serve a request: routes, the policies that choose them, and what they learn from requests that
/// ended. Nothing here does I/O, so a policy can be simulated.
///
/// May depend on: `discovery`.
@NullMarked
package dev.baton.router.policy;

import org.jspecify.annotations.NullMarked;
