package dev.baton.cli;

import dev.baton.transfer.KvLoadFailurePolicy;
import dev.baton.transfer.KvRole;
import dev.baton.transfer.KvTransferConfig;
import dev.baton.transfer.p2p.P2pNcclConnector;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;
import tools.jackson.core.JacksonException;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// Reads vLLM's `--kv-transfer-config '{...}'`.
///
/// Differences: `kv_port` is any free port unless given, because each instance has one of its own and says it
/// in the hand-off; `kv_load_failure_policy` is `recompute` unless given. Keys of vLLM that mean nothing here
/// are accepted, so that its command lines work; keys that nobody knows are refused.
final class KvTransferConfigConverter implements ITypeConverter<KvTransferConfig> {
    private static final String BUFFER_SIZE = "kv_buffer_size";
    private static final Set<String> USED = Set.of(
            "kv_connector",
            "kv_role",
            "engine_id",
            "kv_ip",
            "kv_port",
            "kv_load_failure_policy",
            "kv_connector_extra_config");
    private static final Set<String> IGNORED =
            Set.of("kv_buffer_device", BUFFER_SIZE, "kv_rank", "kv_parallel_size", "enable_permute_local_kv");
    private static final int HIGHEST_PORT = 65_535;
    private static final JsonMapper JSON = new JsonMapper();

    @Override
    public KvTransferConfig convert(String text) {
        JsonNode json;
        try {
            json = JSON.readTree(text);
        } catch (JacksonException e) {
            throw new TypeConversionException("not JSON: " + e.getOriginalMessage());
        }
        if (!json.isObject()) {
            throw new TypeConversionException("not a JSON object such as {\"kv_connector\": \"TcpConnector\", ...}");
        }
        json.propertyNames().forEach(KvTransferConfigConverter::checkKey);
        String connector = string(json, "kv_connector", "");
        if (connector.isEmpty()) {
            throw new TypeConversionException("kv_connector is missing, for example \"TcpConnector\"");
        }
        return new KvTransferConfig(
                connector,
                choice(json, "kv_role", "", List.of(KvRole.values())),
                string(json, "engine_id", UUID.randomUUID().toString()),
                string(json, "kv_ip", "127.0.0.1"),
                port(json),
                choice(json, "kv_load_failure_policy", "recompute", List.of(KvLoadFailurePolicy.values())),
                extra(json, connector));
    }

    private static void checkKey(String key) {
        if (USED.contains(key) || IGNORED.contains(key)) {
            return;
        }
        Set<String> known = new TreeSet<>(USED);
        known.addAll(IGNORED);
        String hint = NearestName.of(key, known)
                .map(near -> "; did you mean " + near + "?")
                .orElse("; known are " + String.join(", ", known));
        throw new TypeConversionException("there is no key " + key + hint);
    }

    private static String string(JsonNode json, String key, String otherwise) {
        JsonNode value = json.path(key);
        if (value.isMissingNode() || value.isNull()) {
            return otherwise;
        }
        if (!value.isString()) {
            throw new TypeConversionException(key + " must be a string, got " + value);
        }
        return value.stringValue();
    }

    private static <E extends Enum<E>> E choice(JsonNode json, String key, String otherwise, List<E> values) {
        String name = string(json, key, otherwise);
        List<String> names = values.stream()
                .map(value -> value.name().toLowerCase(Locale.ROOT))
                .toList();
        int index = names.indexOf(name);
        if (index < 0) {
            throw new TypeConversionException(
                    key + (name.isEmpty() ? " is missing" : " is '" + name + "'") + ": choose from " + names);
        }
        return values.get(index);
    }

    private static int port(JsonNode json) {
        JsonNode value = json.path("kv_port");
        if (value.isMissingNode() || value.isNull()) {
            return 0;
        }
        String text = value.isString() ? value.stringValue() : value.toString();
        if (text.matches("\\d{1,5}") && Integer.parseInt(text) <= HIGHEST_PORT) {
            return Integer.parseInt(text);
        }
        throw new TypeConversionException("kv_port must be 0 to " + HIGHEST_PORT + ", got " + value);
    }

    private static Map<String, Object> extra(JsonNode json, String connector) {
        Map<String, Object> extra = new HashMap<>(extra(json));
        JsonNode bufferSize = json.path(BUFFER_SIZE);
        // Of vLLM's connectors this one alone reads it.
        if (connector.equals(P2pNcclConnector.NAME) && !bufferSize.isMissingNode() && !bufferSize.isNull()) {
            extra.putIfAbsent(BUFFER_SIZE, bufferSize.isString() ? bufferSize.stringValue() : bufferSize.doubleValue());
        }
        return Map.copyOf(extra);
    }

    private static Map<String, Object> extra(JsonNode json) {
        JsonNode value = json.path("kv_connector_extra_config");
        if (value.isMissingNode() || value.isNull()) {
            return Map.of();
        }
        if (!value.isObject()) {
            throw new TypeConversionException("kv_connector_extra_config must be an object, got " + value);
        }
        return JSON.convertValue(value, new TypeReference<Map<String, Object>>() {});
    }
}
