package dev.baton.discovery;

import dev.baton.http.FileProblem;
import dev.baton.http.Json;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/// A file that lists engines, read again when it changes. YAML, or JSON if its name ends with `.json`: either a
/// list of engines as [EngineJson] has them, or lists by role:
///
/// ```
/// prefillers:
///   - 10.0.0.1:8100
///   - 10.0.0.2:8100,weight=2
/// decoders:
///   - address: 10.0.0.3:8200
/// ```
///
/// The file is read each interval rather than watched: that also sees files behind links that are exchanged,
/// and on network file systems. What was read counts once it is there twice, so that a file half written does
/// not; a file that is missing, empty or wrong changes nothing and is told of in the log once. At the start one
/// that is missing or empty is waited for, as somebody may be about to write it; a wrong one is refused. An
/// empty list is a list. Thread-safe.
public final class FileEngines implements EngineSource {
    private static final Logger LOG = LoggerFactory.getLogger(FileEngines.class);
    private static final Duration INTERVAL = Duration.ofMillis(500);
    private static final int MAX_BYTES = 4 << 20;
    private static final JsonMapper MAPPER = new JsonMapper();

    private final Path file;
    private final Duration interval;
    private final Map<EngineAddress, EngineInfo> known = new HashMap<>();
    private byte[] applied = new byte[0];
    private byte[] lastRead = new byte[0];
    private String complaint = "";
    private @Nullable Thread reader;

    /// @param file may come later
    public FileEngines(Path file) {
        this(file, INTERVAL);
    }

    FileEngines(Path file, Duration interval) {
        this.file = file;
        this.interval = interval;
    }

    @Override
    public void start(EngineListener listener) {
        boolean isYetToCome = Files.notExists(file);
        try {
            byte[] bytes = read();
            isYetToCome = new String(bytes, StandardCharsets.UTF_8).isBlank();
            apply(parse(bytes), listener);
            applied = bytes;
            lastRead = bytes;
        } catch (DiscoveryException e) {
            if (!isYetToCome) {
                throw e;
            }
            complain(String.valueOf(e.getMessage()));
        }
        reader = Thread.ofVirtual().name("baton-engines-file").start(() -> watch(listener));
    }

    @Override
    public String description() {
        return "the file " + file;
    }

    @Override
    public void close() {
        Thread running = reader;
        if (running != null) {
            running.interrupt();
        }
    }

    private void watch(EngineListener listener) {
        try {
            while (true) {
                Thread.sleep(interval);
                look(listener);
            }
        } catch (InterruptedException e) {
            LOG.debug("{} is not watched any more", file);
        }
    }

    private void look(EngineListener listener) {
        try {
            byte[] bytes = read();
            boolean settled = Arrays.equals(bytes, lastRead);
            lastRead = bytes;
            if (settled && !Arrays.equals(bytes, applied)) {
                List<EngineInfo> engines = parse(bytes);
                applied = bytes;
                apply(engines, listener);
                LOG.info("{} has changed: {} engines", file, engines.size());
            }
            if (settled) {
                complaint = "";
            }
        } catch (DiscoveryException e) {
            complain(String.valueOf(e.getMessage()));
        }
    }

    private void complain(String message) {
        if (!message.equals(complaint)) {
            complaint = message;
            LOG.warn("{}; {}", message, known.isEmpty() ? "it is waited for" : "the engines stay as they were");
        }
    }

    private void apply(List<EngineInfo> engines, EngineListener listener) {
        Map<EngineAddress, EngineInfo> now = new HashMap<>();
        for (EngineInfo engine : engines) {
            now.put(engine.address(), engine);
            if (!engine.equals(known.put(engine.address(), engine))) {
                listener.joined(engine);
            }
        }
        for (EngineAddress address : List.copyOf(known.keySet())) {
            if (!now.containsKey(address)) {
                known.remove(address);
                listener.left(address, "it is not in " + file + " any more");
            }
        }
    }

    private byte[] read() {
        try (InputStream in = Files.newInputStream(file)) {
            byte[] bytes = in.readNBytes(MAX_BYTES + 1);
            if (bytes.length > MAX_BYTES) {
                throw new DiscoveryException(file + " is larger than " + MAX_BYTES + " bytes");
            }
            return bytes;
        } catch (IOException e) {
            throw new DiscoveryException("the file of engines " + file + " cannot be read: " + FileProblem.of(e));
        }
    }

    private List<EngineInfo> parse(byte[] bytes) {
        try {
            List<EngineInfo> engines = new ArrayList<>();
            JsonNode root = tree(bytes);
            if (root.isArray()) {
                root.forEach(entry -> engines.add(EngineJson.parse(entry)));
            } else if (root.isObject() && !root.isEmpty()) {
                for (String key : root.propertyNames()) {
                    addList(key, Objects.requireNonNull(root.get(key)), engines);
                }
            } else {
                throw new DiscoveryException("it holds no list of engines");
            }
            StaticEngines.refuseTwice(engines);
            return engines;
        } catch (DiscoveryException e) {
            throw new DiscoveryException("the file of engines " + file + " is wrong: " + e.getMessage());
        }
    }

    private static void addList(String key, JsonNode entries, List<EngineInfo> engines) {
        EngineRole role = switch (key) {
            case "prefillers" -> EngineRole.PREFILLER;
            case "decoders" -> EngineRole.DECODER;
            default ->
                throw new DiscoveryException("its lists are prefillers and decoders, and there is '" + key + "'");
        };
        if (!entries.isArray()) {
            throw new DiscoveryException(key + " is no list");
        }
        for (JsonNode entry : entries) {
            engines.add(entry.isString() ? EngineText.parse(entry.stringValue(), role) : EngineJson.parse(entry, role));
        }
    }

    private JsonNode tree(byte[] bytes) {
        if (file.toString().endsWith(".json")) {
            try {
                return Json.parse(bytes);
            } catch (Json.MalformedException e) {
                throw new DiscoveryException("no JSON at byte " + e.offsetBytes());
            }
        }
        LoadSettings settings = LoadSettings.builder()
                .setLabel(String.valueOf(file.getFileName()))
                .setMaxAliasesForCollections(0)
                .setCodePointLimit(MAX_BYTES)
                .build();
        try {
            Object value = new Load(settings).loadFromInputStream(new java.io.ByteArrayInputStream(bytes));
            return MAPPER.valueToTree(value);
        } catch (MarkedYamlEngineException e) {
            int line = e.getProblemMark().map(mark -> mark.getLine() + 1).orElse(0);
            throw new DiscoveryException("no YAML in line " + line + ": " + e.getProblem());
        } catch (YamlEngineException e) {
            throw new DiscoveryException("no YAML: " + e.getMessage());
        }
    }
}
