/// Who serves what: the addresses and roles of the engines that a router drives. At its first size a static list;
/// registration and leases come later.
///
/// May depend on: `http`, `metrics`.
@NullMarked
package dev.baton.discovery;

import org.jspecify.annotations.NullMarked;
