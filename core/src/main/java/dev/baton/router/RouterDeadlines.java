package dev.baton.router;

import java.time.Duration;

/// How long the router waits, for each wait.
///
/// @param connect for a connection to an engine
/// @param prefill for a prefiller's whole answer, connecting included
/// @param announcement for what a prefiller announces outside of its answer, counted from the answer
/// @param answer for the head of a decoder's answer; one that is not streamed is computed before its head comes
/// @param gap for the next bytes of a stream, and for its first bytes after its head
/// @param passThrough for the answer to a request that is passed on as it is, such as `/tokenize`
/// @param abortNotice for a prefiller to take note of an abort
/// @param probe for the answer to a health probe
public record RouterDeadlines(
        Duration connect,
        Duration prefill,
        Duration announcement,
        Duration answer,
        Duration gap,
        Duration passThrough,
        Duration abortNotice,
        Duration probe) {
    /// 0.5 s to connect, 5 minutes for a prefill, 5 s for its announcement, 30 minutes for a whole answer, 2
    /// minutes between bytes, 30 s for requests passed on, 2 s for an abort, 1 s for a probe.
    public static RouterDeadlines defaults() {
        return new RouterDeadlines(
                Duration.ofMillis(500),
                Duration.ofMinutes(5),
                Duration.ofSeconds(5),
                Duration.ofMinutes(30),
                Duration.ofMinutes(2),
                Duration.ofSeconds(30),
                Duration.ofSeconds(2),
                Duration.ofSeconds(1));
    }

    public RouterDeadlines withConnect(Duration deadline) {
        return new RouterDeadlines(deadline, prefill, announcement, answer, gap, passThrough, abortNotice, probe);
    }

    public RouterDeadlines withPrefill(Duration deadline) {
        return new RouterDeadlines(connect, deadline, announcement, answer, gap, passThrough, abortNotice, probe);
    }

    public RouterDeadlines withAnnouncement(Duration deadline) {
        return new RouterDeadlines(connect, prefill, deadline, answer, gap, passThrough, abortNotice, probe);
    }

    public RouterDeadlines withAnswer(Duration deadline) {
        return new RouterDeadlines(connect, prefill, announcement, deadline, gap, passThrough, abortNotice, probe);
    }

    public RouterDeadlines withGap(Duration deadline) {
        return new RouterDeadlines(connect, prefill, announcement, answer, deadline, passThrough, abortNotice, probe);
    }

    public RouterDeadlines withProbe(Duration deadline) {
        return new RouterDeadlines(connect, prefill, announcement, answer, gap, passThrough, abortNotice, deadline);
    }
}
