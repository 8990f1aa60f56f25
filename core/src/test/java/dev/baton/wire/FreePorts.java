package dev.baton.wire;

import java.io.IOException;
import java.net.ServerSocket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;

/// Ports for servers that have to be told theirs before they listen.
///
/// They lie below those that a kernel gives to connections by itself, and above those that Mooncake takes: between
/// this choice and the server's start, no connection of anybody's takes one. Each is given once, also by test
/// processes beside this one: each of them has a part of its own.
public final class FreePorts {
    private static final int FIRST = 17_100;
    private static final int END = 29_000;
    private static final int PARTS = 4;
    private static final int PART = (END - FIRST) / PARTS;
    /// Surefire counts the processes in which it runs tests from 1.
    private static final int FIRST_HERE = FIRST + Integer.getInteger("surefire.forkNumber", 1) % PARTS * PART;

    private static final Set<Integer> GIVEN = ConcurrentHashMap.newKeySet();

    private FreePorts() {}

    /// A port on which nobody listens now.
    public static int next() {
        for (int tries = 0; tries < 1_000; tries++) {
            int port = ThreadLocalRandom.current().nextInt(FIRST_HERE, FIRST_HERE + PART);
            if (GIVEN.add(port) && isFree(port)) {
                return port;
            }
        }
        throw new AssertionError("no port from " + FIRST_HERE + " to " + (FIRST_HERE + PART) + " is free");
    }

    private static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket(port)) {
            return socket.isBound();
        } catch (IOException e) {
            return false;
        }
    }
}
