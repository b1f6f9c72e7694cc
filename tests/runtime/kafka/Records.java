import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** The Java client for the tests: "write BROKER TOPIC COMPRESSION..." and "read BROKER TOPIC COUNT", records as lines. */
public class Records {
    public static void main(String[] args) {
        if (args[0].equals("write")) write(args);
        else read(args);
    }

    /** 100 records for each compression, to the partitions that the client chooses by their keys. */
    static void write(String[] args) {
        for (int kind = 3; kind < args.length; kind++) {
            Properties options = new Properties();
            options.put("bootstrap.servers", args[1]);
            options.put("compression.type", args[kind]);
            options.put("linger.ms", "50");
            try (var producer = new KafkaProducer<byte[], byte[]>(options, new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int i = 0; i < 100; i++) {
                    byte[] key = i % 3 == 0 ? ("key-" + i).getBytes(StandardCharsets.UTF_8) : i % 3 == 1 ? new byte[0] : null;
                    byte[] value = i % 10 == 9 ? null : (args[kind] + "-" + "x".repeat(i)).getBytes(StandardCharsets.UTF_8);
                    List<Header> headers = new ArrayList<>();
                    if (i % 4 == 0) headers.add(new RecordHeader("h", new byte[] {1, 2}));
                    if (i % 8 == 0) headers.add(new RecordHeader("\u00e4", (byte[]) null));
                    Integer partition = key == null ? Integer.valueOf(0) : null;
                    producer.send(new ProducerRecord<>(args[2], partition, 1700000000000L + i, key, value, headers));
                }
            }
        }
    }

    static void read(String[] args) {
        Properties options = new Properties();
        options.put("bootstrap.servers", args[1]);
        options.put("check.crcs", "true");
        options.put("isolation.level", "read_committed");
        int left = Integer.parseInt(args[3]);
        try (var consumer = new KafkaConsumer<byte[], byte[]>(options, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> parts = new ArrayList<>();
            for (var info : consumer.partitionsFor(args[2])) parts.add(new TopicPartition(args[2], info.partition()));
            consumer.assign(parts);
            consumer.seekToBeginning(parts);
            while (left > 0) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    StringBuilder line = new StringBuilder();
                    line.append(record.partition()).append(' ').append(record.offset()).append(' ').append(record.timestamp());
                    line.append(' ').append(hex(record.key())).append(' ').append(hex(record.value()));
                    for (Header header : record.headers()) {
                        line.append(' ').append(hex(header.key().getBytes(StandardCharsets.UTF_8))).append('=').append(hex(header.value()));
                    }
                    System.out.println(line);
                    left--;
                }
            }
        }
    }

    static String hex(byte[] data) {
        return data == null ? "null" : "x" + HexFormat.of().formatHex(data);
    }
}
