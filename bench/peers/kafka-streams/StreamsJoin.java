import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.CompressionType;
import org.rocksdb.Options;

/** Clicks joined with their queries by Kafka Streams: a windowed join of two streams, exactly once. */
public final class StreamsJoin {
    /** As long as Ready To Fly waits for a query in the bench. */
    private static final Duration WINDOW = Duration.ofMinutes(10);
    private static final Serde<byte[]> BYTES = Serdes.ByteArray();

    public static void main(String[] args) {
        KafkaStreams streams = new KafkaStreams(topology(System.getenv()), properties(System.getenv()));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        streams.start();
    }

    /** Both topics have the query's id as their key, so nothing is repartitioned. */
    private static Topology topology(Map<String, String> job) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<byte[], byte[]> clicks = builder.stream(job.get("PEER_FOREIGN"), Consumed.with(BYTES, BYTES));
        KStream<byte[], byte[]> queries = builder.stream(job.get("PEER_PRIMARY"), Consumed.with(BYTES, BYTES));
        clicks.join(
                        queries,
                        Row::of,
                        JoinWindows.ofTimeDifferenceWithNoGrace(WINDOW),
                        StreamJoined.with(BYTES, BYTES, BYTES))
                .to(job.get("PEER_OUTPUT"), Produced.with(BYTES, BYTES));
        return builder.build();
    }

    private static Properties properties(Map<String, String> job) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, job.get("PEER_NAME"));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, job.get("PEER_KAFKA"));
        properties.put(StreamsConfig.STATE_DIR_CONFIG, job.get("PEER_DATA"));
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5000);
        properties.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, LargeMemtables.class);
        consumer(properties, job);
        producer(properties);
        return properties;
    }

    private static void consumer(Properties properties, Map<String, String> job) {
        consumer(properties, ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        consumer(properties, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 5000);
        consumer(properties, ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 << 20);
        consumer(properties, ConsumerConfig.CHECK_CRCS_CONFIG, false);
        // A static member with a short session: after a crash it takes up its partitions again as soon as it is back.
        consumer(properties, ConsumerConfig.GROUP_INSTANCE_ID_CONFIG, job.get("PEER_NAME"));
        consumer(properties, ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, 6000);
        consumer(properties, ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, 1500);
    }

    private static void producer(Properties properties) {
        producer(properties, ProducerConfig.LINGER_MS_CONFIG, 20);
        producer(properties, ProducerConfig.BATCH_SIZE_CONFIG, 256 << 10);
        producer(properties, ProducerConfig.BUFFER_MEMORY_CONFIG, 64 << 20);
    }

    private static void consumer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.mainConsumerPrefix(name), value);
    }

    private static void producer(Properties properties, String name, Object value) {
        properties.put(StreamsConfig.producerPrefix(name), value);
    }

    /** Fewer and larger flushes, and no compression of what lives for minutes. */
    public static final class LargeMemtables implements RocksDBConfigSetter {
        @Override
        public void setConfig(String store, Options options, Map<String, Object> configs) {
            options.setWriteBufferSize(32 << 20);
            options.setCompressionType(CompressionType.NO_COMPRESSION);
        }

        @Override
        public void close(String store, Options options) {}
    }
}
