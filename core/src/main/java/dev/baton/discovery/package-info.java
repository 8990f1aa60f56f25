/// Who serves what: the addresses and roles of the engines that a router drives. Sources report engines that
/// come and go to a listener; a static list is the simplest.
///
/// May depend on: `http`, `wire`, `metrics`.
@NullMarked
package dev.baton.discovery;

import org.jspecify.annotations.NullMarked;
