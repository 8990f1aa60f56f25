package dev.baton.discovery;

import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// An engine as a JSON object, as files, registrations over HTTP and values in etcd have it:
///
/// ```
/// {"address": "10.0.0.1:8100", "role": "prefiller", "weight": 1.0, "zmq_address": "10.0.0.1:14579"}
/// ```
///
/// Of the connectors there is at most one: `zmq_address`; `bootstrap_port`; `nixl` with `engine_id`, `host`,
/// `port`, `tp_size`, `pp_size`; `lmcache` with `host`, `init_ports`, `alloc_ports`. Stateless and thread-safe.
public final class EngineJson {
    private static final String ADDRESS = "address";
    private static final String ROLE = "role";
    private static final String WEIGHT = "weight";
    private static final String ZMQ = "zmq_address";
    private static final String BOOTSTRAP = "bootstrap_port";
    private static final String NIXL = "nixl";
    private static final String LMCACHE = "lmcache";
    private static final Set<String> CONNECTORS = new TreeSet<>(Set.of(ZMQ, BOOTSTRAP, NIXL, LMCACHE));
    private static final Set<String> FIELDS = fields();

    private EngineJson() {}

    private static Set<String> fields() {
        Set<String> fields = new TreeSet<>(CONNECTORS);
        fields.addAll(Set.of(ADDRESS, ROLE, WEIGHT));
        return fields;
    }

    /// Reads an object that says its role.
    ///
    /// @throws DiscoveryException naming the field, if one is missing, unknown or has no such value
    public static EngineInfo parse(JsonNode json) {
        return parse(json, Set.of());
    }

    /// Reads an object of a list that says the role unless the object does.
    ///
    /// @throws DiscoveryException as [#parse(JsonNode)]
    public static EngineInfo parse(JsonNode json, EngineRole listed) {
        requireObject(json);
        return json.has(ROLE)
                ? parse(json)
                : parse(((ObjectNode) json).deepCopy().put(ROLE, listed.word()));
    }

    /// Reads an object that may have fields beside an engine's.
    ///
    /// @param others names of fields that are not read here
    /// @throws DiscoveryException as [#parse(JsonNode)]
    public static EngineInfo parse(JsonNode json, Set<String> others) {
        requireObject(json);
        for (String name : json.propertyNames()) {
            if (!FIELDS.contains(name) && !others.contains(name)) {
                throw new DiscoveryException("an engine has no field '" + name + "', but " + String.join(", ", FIELDS));
            }
        }
        return new EngineInfo(
                EngineAddress.parse(text(json, ADDRESS)),
                EngineRole.of(text(json, ROLE)),
                json.has(WEIGHT) ? number(json, WEIGHT) : 1,
                endpoint(json));
    }

    /// The address that an object names.
    ///
    /// @throws DiscoveryException if it is no object with an address
    public static EngineAddress address(JsonNode json) {
        requireObject(json);
        return EngineAddress.parse(text(json, ADDRESS));
    }

    private static void requireObject(JsonNode json) {
        if (!json.isObject()) {
            throw new DiscoveryException(
                    "an engine is an object such as {\"address\": \"10.0.0.1:8100\", \"role\": " + "\"decoder\"}");
        }
    }

    private static ConnectorEndpoint endpoint(JsonNode json) {
        List<String> said = CONNECTORS.stream().filter(json::has).toList();
        if (said.size() > 1) {
            throw new DiscoveryException(
                    "an engine has one connector, and this one says " + String.join(" and ", said));
        }
        return switch (said.isEmpty() ? "" : said.getFirst()) {
            case ZMQ ->
                new ConnectorEndpoint.P2pNccl(
                        EngineAddress.parse(text(json, ZMQ)).toString());
            case BOOTSTRAP -> new ConnectorEndpoint.Bootstrap(integer(json, BOOTSTRAP));
            case NIXL -> nixl(json.path(NIXL));
            case LMCACHE -> lmcache(json.path(LMCACHE));
            default -> new ConnectorEndpoint.Unnamed();
        };
    }

    private static ConnectorEndpoint nixl(JsonNode json) {
        return new ConnectorEndpoint.NixlSideChannel(
                text(json, "engine_id"),
                text(json, "host"),
                integer(json, "port"),
                json.has("tp_size") ? integer(json, "tp_size") : 1,
                json.has("pp_size") ? integer(json, "pp_size") : 1);
    }

    private static ConnectorEndpoint lmcache(JsonNode json) {
        return new ConnectorEndpoint.LmCacheReceiver(
                text(json, "host"), integers(json, "init_ports"), integers(json, "alloc_ports"));
    }

    /// Writes what [#parse(JsonNode)] reads.
    public static ObjectNode of(EngineInfo engine) {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.put(ADDRESS, engine.address().toString());
        json.put(ROLE, engine.role().word());
        json.put(WEIGHT, engine.weight());
        switch (engine.endpoint()) {
            case ConnectorEndpoint.Unnamed() -> {}
            case ConnectorEndpoint.P2pNccl(String zmqAddress) -> json.put(ZMQ, zmqAddress);
            case ConnectorEndpoint.Bootstrap(int port) -> json.put(BOOTSTRAP, port);
            case ConnectorEndpoint.Mooncake mooncake ->
                json.put(BOOTSTRAP, URI.create(mooncake.bootstrapAddress()).getPort());
            case ConnectorEndpoint.NixlSideChannel nixl ->
                json.putObject(NIXL)
                        .put("engine_id", nixl.engineId())
                        .put("host", nixl.host())
                        .put("port", nixl.port())
                        .put("tp_size", nixl.tpSize())
                        .put("pp_size", nixl.ppSize());
            case ConnectorEndpoint.LmCacheReceiver lmcache -> {
                ObjectNode receiver = json.putObject(LMCACHE).put("host", lmcache.host());
                put(receiver.putArray("init_ports"), lmcache.initPorts());
                put(receiver.putArray("alloc_ports"), lmcache.allocPorts());
            }
        }
        return json;
    }

    private static void put(ArrayNode array, List<Integer> ports) {
        ports.forEach(array::add);
    }

    private static String text(JsonNode json, String field) {
        JsonNode value = json.path(field);
        if (!value.isString()) {
            throw new DiscoveryException("'" + field + "' must be text, got " + shown(value));
        }
        return value.stringValue();
    }

    private static double number(JsonNode json, String field) {
        JsonNode value = json.path(field);
        if (!value.isNumber()) {
            throw new DiscoveryException("'" + field + "' must be a number, got " + shown(value));
        }
        return value.doubleValue();
    }

    private static int integer(JsonNode json, String field) {
        return integer(field, json.path(field));
    }

    private static int integer(String field, JsonNode value) {
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw new DiscoveryException("'" + field + "' must be a whole number, got " + shown(value));
        }
        return value.intValue();
    }

    private static List<Integer> integers(JsonNode json, String field) {
        List<Integer> numbers = new ArrayList<>();
        for (JsonNode value : json.path(field)) {
            numbers.add(integer(field, value));
        }
        return numbers;
    }

    private static String shown(JsonNode value) {
        return value.isMissingNode() ? "nothing" : value.toString();
    }
}
