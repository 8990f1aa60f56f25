package dev.baton.engine;

/// Receives the outputs of one request, in order, from the engine's thread. Must return quickly and must not
/// throw.
@FunctionalInterface
public interface RequestListener {
    void onOutput(RequestOutput output);
}
