package dev.baton.discovery;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// An engine in one word, as flags and files have it: its address, then what is known of it after commas, for
/// example `10.0.0.1:8100,weight=2,zmq=10.0.0.1:14579`.
///
/// | part | meaning |
/// |---|---|
/// | `weight=2` | its share of the traffic |
/// | `role=both` | another role than that of the list it stands in |
/// | `zmq=IP:PORT` | where vLLM's P2pNcclConnector listens |
/// | `bootstrap=8998` | port of the bootstrap server of SGLang or of vLLM's MooncakeConnector |
/// | `nixl=ENGINE_ID@HOST:PORT`, `tp=1`, `pp=1` | side channel of vLLM's NixlPushConnector, parallel sizes |
/// | `lmcache=HOST/INIT+INIT/ALLOC+ALLOC` | LMCache's receiver: host, init ports, alloc ports, one a rank |
public final class EngineText {
    private static final List<String> KEYS =
            List.of("weight", "role", "zmq", "bootstrap", "nixl", "tp", "pp", "lmcache");

    private EngineText() {}

    /// Reads a word that names one engine, or several with commas between them: a part without `=` begins the next.
    ///
    /// @param role of the list it stands in
    /// @throws DiscoveryException as [#parse]
    public static List<EngineInfo> parseAll(String text, EngineRole role) {
        List<EngineInfo> engines = new ArrayList<>();
        String[] parts = text.split(",", -1);
        StringBuilder engine = new StringBuilder(parts[0]);
        for (String part : Arrays.asList(parts).subList(1, parts.length)) {
            if (part.contains("=")) {
                engine.append(',').append(part);
            } else {
                engines.add(parse(engine.toString(), role));
                engine = new StringBuilder(part);
            }
        }
        engines.add(parse(engine.toString(), role));
        return engines;
    }

    /// Reads a word that names one engine.
    ///
    /// @param role of the list it stands in
    /// @throws DiscoveryException naming the word, if a part is unknown, twice, or has no such value
    public static EngineInfo parse(String text, EngineRole role) {
        String[] parts = text.strip().split(",", -1);
        EngineAddress address = EngineAddress.parse(parts[0]);
        Map<String, String> values = new HashMap<>();
        for (String part : Arrays.asList(parts).subList(1, parts.length)) {
            int equals = part.indexOf('=');
            String key = equals < 0 ? part.strip() : part.substring(0, equals).strip();
            if (equals < 0 || !KEYS.contains(key)) {
                throw new DiscoveryException(
                        "'" + text + "': '" + part + "' is none of " + String.join("=, ", KEYS) + "=");
            }
            if (values.putIfAbsent(key, part.substring(equals + 1).strip()) != null) {
                throw new DiscoveryException("'" + text + "' says " + key + " twice");
            }
        }
        try {
            return new EngineInfo(
                    address,
                    values.containsKey("role") ? EngineRole.of(values.getOrDefault("role", "")) : role,
                    Double.parseDouble(values.getOrDefault("weight", "1")),
                    endpoint(values));
        } catch (NumberFormatException e) {
            throw new DiscoveryException("'" + text + "': a value is no number (" + e.getMessage() + ")");
        } catch (DiscoveryException e) {
            throw new DiscoveryException("'" + text + "': " + e.getMessage());
        }
    }

    private static ConnectorEndpoint endpoint(Map<String, String> values) {
        List<ConnectorEndpoint> said =
                KEYS.stream().flatMap(key -> endpoint(key, values).stream()).toList();
        if (said.size() > 1) {
            throw new DiscoveryException("an engine has one connector, of zmq, bootstrap, nixl and lmcache");
        }
        return said.isEmpty() ? new ConnectorEndpoint.Unnamed() : said.getFirst();
    }

    private static Optional<ConnectorEndpoint> endpoint(String key, Map<String, String> values) {
        String value = values.get(key);
        if (value == null) {
            return Optional.empty();
        }
        return switch (key) {
            case "zmq" ->
                Optional.of(
                        new ConnectorEndpoint.P2pNccl(EngineAddress.parse(value).toString()));
            case "bootstrap" -> Optional.of(new ConnectorEndpoint.Bootstrap(Integer.parseInt(value)));
            case "nixl" -> Optional.of(nixl(value, values));
            case "lmcache" -> Optional.of(lmcache(value));
            default -> Optional.empty();
        };
    }

    private static ConnectorEndpoint nixl(String value, Map<String, String> values) {
        int at = value.lastIndexOf('@');
        if (at < 1) {
            throw new DiscoveryException("nixl=" + value + " is not ENGINE_ID@HOST:PORT");
        }
        EngineAddress channel = EngineAddress.parse(value.substring(at + 1));
        return new ConnectorEndpoint.NixlSideChannel(
                value.substring(0, at),
                channel.host(),
                channel.port(),
                Integer.parseInt(values.getOrDefault("tp", "1")),
                Integer.parseInt(values.getOrDefault("pp", "1")));
    }

    private static ConnectorEndpoint lmcache(String value) {
        String[] parts = value.split("/", -1);
        if (parts.length != 3 || parts[0].isEmpty()) {
            throw new DiscoveryException("lmcache=" + value + " is not HOST/INIT_PORT+.../ALLOC_PORT+...");
        }
        return new ConnectorEndpoint.LmCacheReceiver(parts[0], ports(parts[1]), ports(parts[2]));
    }

    private static List<Integer> ports(String text) {
        return Arrays.stream(text.split("\\+", -1)).map(Integer::valueOf).toList();
    }
}
