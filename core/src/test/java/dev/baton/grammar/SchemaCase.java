package dev.baton.grammar;

import java.util.List;

/// Schemas with documents that satisfy them and are written as the grammar writes them, and documents that do not.
record SchemaCase(String schema, List<String> valid, List<String> invalid) {
    @Override
    public String toString() {
        return schema;
    }
}
