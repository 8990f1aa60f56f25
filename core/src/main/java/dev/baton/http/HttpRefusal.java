package dev.baton.http;

import java.time.Duration;

/// A request that the server answered by itself, before any handler saw it: it was malformed, too large, too
/// slow, or its client may not ask. Immutable.
///
/// @param remoteAddress the client's
/// @param method as it was sent
/// @param path as it was sent, without the query; of a malformed request it may hold any byte
/// @param status of the answer
/// @param reason in a sentence, without anything secret
/// @param keyName the name of the API key that was shown; empty if none was, or an unknown one
/// @param time since the request's head had come
public record HttpRefusal(
        String remoteAddress, String method, String path, int status, String reason, String keyName, Duration time) {}
