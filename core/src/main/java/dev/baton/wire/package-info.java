/// How bytes go to other processes where no HTTP is spoken: TCP connections with a deadline on every wait, ZeroMQ's
/// protocol over them, and MessagePack.
///
/// May depend on: nothing.
@NullMarked
package dev.baton.wire;

import org.jspecify.annotations.NullMarked;
