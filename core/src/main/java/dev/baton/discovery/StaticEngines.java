package dev.baton.discovery;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// A fixed list of engines, each address once. Immutable and thread-safe.
///
/// @param prefillers may be empty: then every request is served by a decoder alone
/// @param decoders at least one
public record StaticEngines(List<EngineAddress> prefillers, List<EngineAddress> decoders) implements EngineSource {
    /// @throws DiscoveryException if there is no decoder, or an address stands there twice
    public StaticEngines {
        prefillers = List.copyOf(prefillers);
        decoders = List.copyOf(decoders);
        if (decoders.isEmpty()) {
            throw new DiscoveryException("at least one decoder is needed: pass --decoder host:port");
        }
        Map<EngineAddress, EngineRole> seen = new HashMap<>();
        refuseTwice(prefillers, EngineRole.PREFILLER, seen);
        refuseTwice(decoders, EngineRole.DECODER, seen);
    }

    /// Reads lists of `host:port`.
    ///
    /// @throws DiscoveryException as [EngineAddress#parse] and the constructor
    public static StaticEngines parse(List<String> prefillers, List<String> decoders) {
        return new StaticEngines(
                prefillers.stream().map(EngineAddress::parse).toList(),
                decoders.stream().map(EngineAddress::parse).toList());
    }

    @Override
    public void start(EngineListener listener) {
        decoders.forEach(address -> listener.joined(EngineInfo.of(address, EngineRole.DECODER)));
        prefillers.forEach(address -> listener.joined(EngineInfo.of(address, EngineRole.PREFILLER)));
    }

    @Override
    public String description() {
        return "prefillers " + prefillers + " and decoders " + decoders;
    }

    @Override
    public void close() {
        // Holds nothing.
    }

    private static void refuseTwice(
            List<EngineAddress> addresses, EngineRole role, Map<EngineAddress, EngineRole> seen) {
        for (EngineAddress address : addresses) {
            EngineRole before = seen.putIfAbsent(address, role);
            if (before != null) {
                throw new DiscoveryException(address + " is listed twice, as " + before.word() + " and as "
                        + role.word() + ": an engine has one role and one place");
            }
        }
    }
}
