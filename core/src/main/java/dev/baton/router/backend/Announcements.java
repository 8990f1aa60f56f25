package dev.baton.router.backend;

/// What prefillers say outside of their HTTP answers: that a prompt's KV cache lies where its decoder finds it.
/// Implementations receive it (over ZMQ, over an HTTP path of the router's) and are thread-safe.
public interface Announcements extends AutoCloseable {
    /// Nobody announces anything.
    Announcements NONE = new Announcements() {
        @Override
        public Expectation expect(String id, int times, Runnable heard) {
            return () -> {};
        }

        @Override
        public void close() {}
    };

    /// Asks to be told of an announcement. Called before the prefill leg goes out, for it may come before the
    /// prefiller's answer; what is announced under ids that nobody expects is dropped.
    ///
    /// @param id what [Handoff#announcedAs] says
    /// @param times how often it has to come: one prefiller announces once for each of its ranks
    /// @param heard run once, on any thread, when it has come so often; must not block
    Expectation expect(String id, int times, Runnable heard);

    /// Listens no more.
    @Override
    void close();

    /// One wait for one id.
    @FunctionalInterface
    interface Expectation extends AutoCloseable {
        /// Waits no more; repeating it does nothing. `heard` may still be running.
        @Override
        void close();
    }
}
