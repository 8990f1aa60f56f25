/// The HTTP shell: a server with limits, deadlines and back-pressure (Vert.x), and a client with deadlines
/// (Netty's codec), both on the event loops of Vert.x. Knows nothing about what is said over it.
///
/// May depend on: no other room.
@NullMarked
package dev.baton.http;

import org.jspecify.annotations.NullMarked;
