package dev.baton.transfer.lmcache;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncakestore.MooncakeAccess;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.schema.CoreSchema;

/// LMCache's settings as they were given: `lmcache.` keys of `kv_connector_extra_config` first, then the YAML
/// file that `LMCACHE_CONFIG_FILE` names, then variables such as `LMCACHE_CHUNK_SIZE`.
///
/// A key that nothing reads is a warning, as it is with LMCache itself, whose files have keys for parts of it that
/// Baton has of its own (servers, controllers, GPU memory). Immutable, thread-safe.
final class LmCacheSettings {
    /// Switches of parts that are not there; what is false is no trouble.
    static final List<String> REFUSED_SWITCHES =
            List.of("enable_p2p", "enable_blending", "enable_controller", "use_layerwise");

    /// Other stores.
    static final List<String> REFUSED_VALUES = List.of("gds_path", "maru_path", "weka_path", "external_lookup_client");

    private static final String FILE_VARIABLE = "LMCACHE_CONFIG_FILE";
    private static final String VARIABLE = "LMCACHE_";
    private static final String OVERRIDE = "lmcache.";
    private static final Set<String> EXTRA_READ = Set.of(
            "discard_partial_chunks",
            "skip_last_n_tokens",
            "model_name",
            "nixl_home",
            MooncakeAccess.HOME,
            MooncakeAccess.METRICS_PORT,
            Exposure.TRUSTED_NETWORK);
    private static final Set<String> EXTRA_UNUSED = Set.of("use_native", "lmcache_rpc_port");
    private static final int MAX_FILE_BYTES = 1 << 20;

    private record Value(Object value, String origin) {}

    private final Map<String, Value> values = new HashMap<>();
    private final Map<String, Object> extra;
    private final List<String> warnings = new ArrayList<>();

    private LmCacheSettings(Map<String, Object> extra) {
        this.extra = extra;
    }

    /// Reads them.
    ///
    /// @param extra `kv_connector_extra_config`
    /// @throws TransferException if the file is not there or no YAML, or `extra` has an unknown key
    static LmCacheSettings read(Map<String, Object> extra, Map<String, String> environment) {
        LmCacheSettings settings = new LmCacheSettings(extra);
        List<String> known = new ArrayList<>(LmCacheOptions.KEYS);
        known.addAll(PdOptions.KEYS);
        known.addAll(REFUSED_SWITCHES);
        known.addAll(REFUSED_VALUES);
        for (String key : known) {
            String variable = VARIABLE + key.toUpperCase(Locale.ROOT);
            settings.put(key, environment.get(variable), variable);
        }
        Optional.ofNullable(environment.get(FILE_VARIABLE))
                .filter(name -> !name.isBlank())
                .ifPresent(name -> settings.readFile(name, known));
        settings.readExtra(known);
        settings.noteExtraConfig();
        return settings;
    }

    /// Only one tier has keys in the map of further settings.
    private void noteExtraConfig() {
        String key = MooncakeTierOptions.EXTRA_CONFIG;
        boolean isRead = text("remote_url").orElse("").startsWith(MooncakeTier.SCHEME);
        if (values.containsKey(key) && !isRead) {
            warnings.add("%s: nothing reads %s here".formatted(origin(key), key));
        }
    }

    private void readFile(String name, List<String> known) {
        Map<?, ?> keys = parse(name);
        Set<String> unread = new TreeSet<>();
        keys.forEach((key, value) -> {
            String text = String.valueOf(key);
            if (known.contains(text)) {
                put(text, value, name);
            } else if (value != null) {
                unread.add(text);
            }
        });
        if (!unread.isEmpty()) {
            warnings.add("%s: nothing reads %s here".formatted(name, String.join(", ", unread)));
        }
    }

    private static Load yaml(String label) {
        return new Load(LoadSettings.builder()
                .setLabel(label)
                .setSchema(new CoreSchema()) // True and False, as Python's YAML has them
                .setCodePointLimit(MAX_FILE_BYTES)
                .build());
    }

    private static Map<?, ?> parse(String name) {
        try (InputStream bytes = Files.newInputStream(Path.of(name))) {
            return switch (yaml(name).loadFromInputStream(bytes)) {
                case null -> Map.of();
                case Map<?, ?> map -> map;
                default ->
                    throw new TransferException(
                            "%s of %s: needed are lines such as 'chunk_size: 256'".formatted(name, FILE_VARIABLE));
            };
        } catch (IOException | InvalidPathException e) {
            throw new TransferException("%s %s cannot be read: %s".formatted(FILE_VARIABLE, name, e), e);
        } catch (YamlEngineException e) {
            throw new TransferException("%s %s is no YAML: %s".formatted(FILE_VARIABLE, name, e.getMessage()), e);
        }
    }

    private void readExtra(List<String> known) {
        for (Map.Entry<String, Object> entry : extra.entrySet()) {
            String key = entry.getKey();
            String override = key.startsWith(OVERRIDE) ? key.substring(OVERRIDE.length()) : "";
            if (known.contains(override)) {
                put(override, entry.getValue(), "kv_connector_extra_config");
            } else if (!override.isEmpty() || EXTRA_UNUSED.contains(key)) {
                warnings.add("kv_connector_extra_config: nothing reads %s here".formatted(key));
            } else if (!EXTRA_READ.contains(key)) {
                throw new TransferException(
                        "kv_connector_extra_config: LMCacheConnectorV1 has no \"%s\"; it has %s, and lmcache.KEY for %s"
                                .formatted(key, new TreeSet<>(EXTRA_READ), LmCacheOptions.KEYS));
            }
        }
    }

    private void put(String key, @Nullable Object value, String origin) {
        if (key.equals(MooncakeTierOptions.EXTRA_CONFIG)) {
            Object parsed = value instanceof String text ? parseMap(text) : value;
            if (parsed != null && !(parsed instanceof Map)) {
                throw wrong(key, String.valueOf(value), "a map, or one as JSON", origin);
            }
            if (parsed != null) {
                values.put(key, new Value(parsed, origin));
            }
            return;
        }
        if (value instanceof Collection<?> list && PdOptions.LISTS.contains(key)) {
            String text = list.stream().map(String::valueOf).collect(Collectors.joining(","));
            values.put(key, new Value(text, origin));
            return;
        }
        if (value instanceof Map || value instanceof Collection) {
            throw wrong(key, "a list or a map", "one value", origin);
        }
        if (value != null && !value.equals("")) {
            values.put(key, new Value(value, origin));
        }
    }

    /// JSON in a variable is YAML, too.
    ///
    /// @return the text itself if it is no such thing
    private static @Nullable Object parseMap(String text) {
        try {
            return yaml(MooncakeTierOptions.EXTRA_CONFIG).loadFromString(text);
        } catch (YamlEngineException e) {
            return text;
        }
    }

    /// One sentence each, for the log.
    List<String> warnings() {
        return List.copyOf(warnings);
    }

    /// Where a key was given.
    String origin(String key) {
        Value value = values.get(key);
        return value == null ? "not given" : value.origin();
    }

    Optional<String> text(String key) {
        return Optional.ofNullable(values.get(key))
                .map(value -> value.value().toString().strip())
                .filter(text -> !text.isEmpty() && !text.equalsIgnoreCase("null") && !text.equalsIgnoreCase("none"));
    }

    boolean flag(String key, boolean otherwise) {
        return text(key).map(text -> truth(key, text, origin(key))).orElse(otherwise);
    }

    int integer(String key, int otherwise, int least, int most) {
        double value = number(key, otherwise, least, most);
        if (value != Math.rint(value)) {
            throw wrong(key, text(key).orElse(""), "a whole number", origin(key));
        }
        return (int) value;
    }

    double number(String key, double otherwise, double least, double most) {
        Optional<String> text = text(key);
        if (text.isEmpty()) {
            return otherwise;
        }
        double value = Double.NaN;
        try {
            value = Double.parseDouble(text.get());
        } catch (NumberFormatException e) {
            // NaN is refused with what is out of range
        }
        if (!(value >= least && value <= most)) {
            String needed = "a number from %s to %s".formatted(plain(least), plain(most));
            throw wrong(key, text.get(), needed, origin(key));
        }
        return value;
    }

    boolean extraFlag(String key) {
        return extra.containsKey(key) && truth(key, String.valueOf(extra.get(key)), "kv_connector_extra_config");
    }

    int extraInteger(String key, int otherwise, int least, int most) {
        if (!extra.containsKey(key)) {
            return otherwise;
        }
        if (extra.get(key) instanceof Integer number && number >= least && number <= most) {
            return number;
        }
        String needed = "a whole number from %d to %d".formatted(least, most);
        throw wrong(key, String.valueOf(extra.get(key)), needed, "kv_connector_extra_config");
    }

    /// A map; empty if it is not set.
    Map<String, Object> map(String key) {
        Map<String, Object> found = new HashMap<>();
        Value given = values.get(key);
        if (given != null && given.value() instanceof Map<?, ?> map) {
            map.forEach((name, value) -> found.put(String.valueOf(name), value));
        }
        return found;
    }

    Optional<String> extraText(String key) {
        if (!extra.containsKey(key)) {
            return Optional.empty();
        }
        if (extra.get(key) instanceof String text && !text.isBlank()) {
            return Optional.of(text);
        }
        throw wrong(key, String.valueOf(extra.get(key)), "a text", "kv_connector_extra_config");
    }

    private static boolean truth(String key, String text, String origin) {
        return switch (text.toLowerCase(Locale.ROOT)) {
            case "true", "1", "yes", "on" -> true;
            case "false", "0", "no", "off" -> false;
            default -> throw wrong(key, text, "true or false", origin);
        };
    }

    private static String plain(double number) {
        return number == Math.rint(number) ? Long.toString((long) number) : Double.toString(number);
    }

    private static TransferException wrong(String key, String value, String needed, String origin) {
        return new TransferException("%s is \"%s\" (%s); needed: %s".formatted(key, value, origin, needed));
    }
}
