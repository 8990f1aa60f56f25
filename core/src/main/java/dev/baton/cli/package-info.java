/// The command line: one class per sub-command. The only room, with `bench`, that writes to standard output.
///
/// May depend on every other room.
@NullMarked
package dev.baton.cli;

import org.jspecify.annotations.NullMarked;
