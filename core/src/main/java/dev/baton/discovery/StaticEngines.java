package dev.baton.discovery;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/// A fixed list of engines, each address once. Immutable and thread-safe.
///
/// @param engines in the order of the list
public record StaticEngines(List<EngineInfo> engines) implements EngineSource {
    /// @throws DiscoveryException if an address stands there twice
    public StaticEngines {
        engines = List.copyOf(engines);
        refuseTwice(engines);
    }

    /// Engines of weight 1 whose connectors need no naming.
    ///
    /// @param prefillers may be empty: then every request is served by a decoder alone
    /// @param decoders at least one
    /// @throws DiscoveryException if there is no decoder, or an address stands there twice
    public StaticEngines(List<EngineAddress> prefillers, List<EngineAddress> decoders) {
        this(requireDecoder(Stream.concat(
                        prefillers.stream().map(address -> EngineInfo.of(address, EngineRole.PREFILLER)),
                        decoders.stream().map(address -> EngineInfo.of(address, EngineRole.DECODER)))
                .toList()));
    }

    /// Reads lists of engines as [EngineText#parseAll] has them.
    ///
    /// @throws DiscoveryException as [EngineText#parse], or if there is no decoder, or an address stands there
    ///     twice
    public static StaticEngines parse(List<String> prefillers, List<String> decoders) {
        return new StaticEngines(requireDecoder(engines(prefillers, decoders)));
    }

    /// Reads lists to which other sources add, so that there need not be a decoder, or any engine.
    ///
    /// @throws DiscoveryException as [EngineText#parse], or if an address stands there twice
    public static StaticEngines parsePart(List<String> prefillers, List<String> decoders) {
        return new StaticEngines(engines(prefillers, decoders));
    }

    private static List<EngineInfo> engines(List<String> prefillers, List<String> decoders) {
        List<EngineInfo> engines = new ArrayList<>();
        prefillers.forEach(text -> engines.addAll(EngineText.parseAll(text, EngineRole.PREFILLER)));
        decoders.forEach(text -> engines.addAll(EngineText.parseAll(text, EngineRole.DECODER)));
        return engines;
    }

    /// Those that do nothing but prefill.
    public List<EngineAddress> prefillers() {
        return engines.stream()
                .filter(engine -> !engine.role().decodes())
                .map(EngineInfo::address)
                .toList();
    }

    /// All others.
    public List<EngineAddress> decoders() {
        return engines.stream()
                .filter(engine -> engine.role().decodes())
                .map(EngineInfo::address)
                .toList();
    }

    @Override
    public void start(EngineListener listener) {
        engines.forEach(listener::joined);
    }

    @Override
    public List<EngineInfo> fixed() {
        return engines;
    }

    @Override
    public String description() {
        return "prefillers " + prefillers() + " and decoders " + decoders();
    }

    @Override
    public void close() {
        // Holds nothing.
    }

    private static List<EngineInfo> requireDecoder(List<EngineInfo> engines) {
        if (engines.stream().noneMatch(engine -> engine.role().decodes())) {
            throw new DiscoveryException("at least one decoder is needed: pass --decoder host:port");
        }
        return engines;
    }

    /// A list in which every engine has one role and one place.
    ///
    /// @throws DiscoveryException naming the address that has not
    static void refuseTwice(List<EngineInfo> engines) {
        Map<EngineAddress, EngineRole> seen = new HashMap<>();
        for (EngineInfo engine : engines) {
            EngineRole before = seen.putIfAbsent(engine.address(), engine.role());
            if (before != null) {
                throw new DiscoveryException(engine.address() + " is listed twice, as " + before.word() + " and as "
                        + engine.role().word() + ": an engine has one role and one place");
            }
        }
    }
}
