/// Starts and watches the processes of a deployment on this machine: which roles there are, on which ports,
/// whether they are ready, and what became of them. Writes nothing itself; it reports to a listener.
///
/// May depend on: `discovery`, `http`.
@NullMarked
package dev.baton.launch;

import org.jspecify.annotations.NullMarked;
