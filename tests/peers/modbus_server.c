/* An independent Modbus server for the tests. libmodbus hears, checks and answers; what is here says only what stands in
 * which register.
 *
 *     modbus_server tcp                        a free port of 127.0.0.1; units 1 to 3
 *     modbus_server rtu PATH BAUD UNIT         a serial port, 8N1; one unit
 *
 * First line of standard output: "libmodbus 3.1.6 serves 41234" (or the path). A line "late N MS" on standard input:
 * every N-th question from then on is answered MS milliseconds late; N = 0: none. It ends with its standard input.
 *
 * Integers are put into registers by libmodbus' own macros. Floats are not: what its functions for the four orders mean
 * changed between 3.1.6 and later releases. Each unit has values of its own: the unit's number is in the last digits.
 * Source: libmodbus' manual pages.
 */

#include <errno.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    UNITS = 3,
    INPUTS = 64,
    HOLE = 22, /* two registers that are refused, in the midst of others */
    BUSY = 60, /* one that makes the unit say that it is busy */
    FAILS = 61, /* one that makes it say that it failed */
    HOLDINGS_FROM = 0x1000,
    HOLDINGS = 32,
    STAMPS_FROM = 200, /* pairs of: own address, number of the question that is being answered */
    STAMPS = 40,
    ALL_INPUTS = STAMPS_FROM + STAMPS,
    CONNECTIONS = 8,
};

static modbus_mapping_t *units[UNITS + 1];
static unsigned asked, late_every, late_ms;

/* `order` names the bytes as they go out, A the most significant. */
static void put_f32(uint16_t *at, float value, const char *order)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 2; i++) {
        unsigned first = bits >> 8 * ('D' - order[2 * i]) & 0xFF;
        unsigned second = bits >> 8 * ('D' - order[2 * i + 1]) & 0xFF;
        at[i] = (uint16_t) (first << 8 | second);
    }
}

static void put_f64(uint16_t *at, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    MODBUS_SET_INT64_TO_INT16(at, 0, bits);
}

static void put_text(uint16_t *at, const char *text, int words)
{
    size_t length = strlen(text);
    for (int i = 0; i < words; i++) {
        unsigned high = (size_t) (2 * i) < length ? text[2 * i] : 0;
        unsigned low = (size_t) (2 * i + 1) < length ? text[2 * i + 1] : 0;
        at[i] = (uint16_t) (high << 8 | low);
    }
}

static modbus_mapping_t *registers_of(int unit)
{
    modbus_mapping_t *map =
        modbus_mapping_new_start_address(0, 0, 0, 0, HOLDINGS_FROM, HOLDINGS, 0, ALL_INPUTS);
    if (map == NULL)
        return NULL;
    uint16_t *in = map->tab_input_registers, *hold = map->tab_registers;
    char serial[17];

    in[0] = (uint16_t) (2300 + unit);
    in[1] = (uint16_t) (-500 - unit);
    MODBUS_SET_INT32_TO_INT16(in, 2, 3141592600u + unit);
    MODBUS_SET_INT32_TO_INT16(in, 4, -123400 - unit);
    put_f32(in + 6, 49.75f + 0.0625f * unit, "ABCD");
    put_f32(in + 8, 10.25f + unit, "CDAB");
    put_f32(in + 10, 20.5f + unit, "BADC");
    put_f32(in + 12, 40.125f + unit, "DCBA");
    MODBUS_SET_INT64_TO_INT16(in, 14, (int64_t) 123456789012300 + unit);
    MODBUS_SET_INT64_TO_INT16(in, 18, (int64_t) -98765432100 - unit);
    put_f64(in + 24, 0.8125 + 0.015625 * unit);
    in[28] = 0x1234; /* packed decimals: 12345601 of unit 1 */
    in[29] = (uint16_t) (0x5600 + unit);
    snprintf(serial, sizeof serial, "LIBMODBUS-%04d", unit);
    put_text(in + 32, serial, 8);
    in[40] = 0x7FC0; /* a float that is no number */
    in[41] = 0x0000;
    in[42] = 0xFFFF; /* what a meter shows where it has nothing */
    in[44] = 0x7FFF; /* the same, as a pair */
    in[45] = 0xFFFF;

    hold[0] = (uint16_t) (500 + unit);
    hold[1] = (uint16_t) (-1 * unit);
    MODBUS_SET_INT32_TO_INT16(hold, 2, 65536u * unit + 7);
    put_f32(hold + 4, -1234.5f - unit, "ABCD");
    put_f32(hold + 6, -2345.25f - unit, "CDAB");
    put_f32(hold + 8, -3456.125f - unit, "BADC");
    put_f32(hold + 10, -4567.0625f - unit, "DCBA");
    return map;
}

/* The exception of a special register in the range, or 0. */
static int refuses(const uint8_t *pdu)
{
    int start = MODBUS_GET_INT16_FROM_INT8(pdu, 1), end = start + MODBUS_GET_INT16_FROM_INT8(pdu, 3);
    if (pdu[0] != MODBUS_FC_READ_INPUT_REGISTERS)
        return 0;
    if (start < HOLE + 2 && HOLE < end)
        return MODBUS_EXCEPTION_ILLEGAL_DATA_ADDRESS;
    if (start <= BUSY && BUSY < end)
        return MODBUS_EXCEPTION_SLAVE_OR_SERVER_BUSY;
    if (start <= FAILS && FAILS < end)
        return MODBUS_EXCEPTION_SLAVE_OR_SERVER_FAILURE;
    return 0;
}

/* One question off the channel, and its answer. Whether the channel is still there. */
static int serve(modbus_t *line, int only_unit)
{
    uint8_t question[MODBUS_MAX_ADU_LENGTH];
    int length = modbus_receive(line, question);
    if (length == 0)
        return 1; /* for another unit of the line */
    if (length < 0)
        return only_unit != 0; /* a serial port stays, whatever was wrong with a frame */
    asked++;
    const uint8_t *pdu = question + modbus_get_header_length(line);
    int unit = only_unit ? only_unit : pdu[-1];
    if (only_unit == 0 && (unit < 1 || unit > UNITS)) {
        modbus_reply_exception(line, question, MODBUS_EXCEPTION_GATEWAY_TARGET);
        return 1;
    }
    modbus_mapping_t *map = units[unit <= UNITS ? unit : 1];
    for (int at = STAMPS_FROM; at < STAMPS_FROM + STAMPS; at += 2) {
        map->tab_input_registers[at] = (uint16_t) at;
        map->tab_input_registers[at + 1] = (uint16_t) asked;
    }
    if (late_every && asked % late_every == 0)
        usleep(late_ms * 1000);
    int code = refuses(pdu);
    if (code)
        modbus_reply_exception(line, question, (unsigned) code);
    else
        modbus_reply(line, question, length, map);
    return 1;
}

/* What a test says; 0: it has gone. */
static int told(void)
{
    char line[80];
    ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
    if (length <= 0)
        return 0;
    line[length] = '\0';
    if (sscanf(line, "late %u %u", &late_every, &late_ms) == 2) {
        asked = 0;
        printf("late %u %u\n", late_every, late_ms);
        fflush(stdout);
    }
    return 1;
}

static void wait_for(struct pollfd *channels, nfds_t count)
{
    while (poll(channels, count, -1) < 0 && errno == EINTR)
        ;
}

static int on_port(const char *path, int baud, int unit)
{
    modbus_t *line = modbus_new_rtu(path, baud, 'N', 8, 1);
    if (line == NULL || modbus_set_slave(line, unit) < 0 || modbus_connect(line) < 0) {
        fprintf(stderr, "%s: %s\n", path, modbus_strerror(errno));
        return 1;
    }
    printf("libmodbus %s serves %s\n", LIBMODBUS_VERSION_STRING, path);
    fflush(stdout);
    struct pollfd channels[] = {{STDIN_FILENO, POLLIN, 0}, {modbus_get_socket(line), POLLIN, 0}};
    for (;;) {
        wait_for(channels, 2);
        if (channels[0].revents && !told())
            return 0;
        if (channels[1].revents & POLLIN)
            serve(line, unit);
        else if (channels[1].revents)
            return 1;
    }
}

static int on_network(void)
{
    modbus_t *line = modbus_new_tcp("127.0.0.1", 0);
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    int listener = line == NULL ? -1 : modbus_tcp_listen(line, CONNECTIONS);
    if (listener < 0 || getsockname(listener, (struct sockaddr *) &name, &size) < 0) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    printf("libmodbus %s serves %d\n", LIBMODBUS_VERSION_STRING, ntohs(name.sin_port));
    fflush(stdout);
    struct pollfd channels[2 + CONNECTIONS] = {{STDIN_FILENO, POLLIN, 0}, {listener, POLLIN, 0}};
    for (int i = 2; i < 2 + CONNECTIONS; i++)
        channels[i] = (struct pollfd) {-1, POLLIN, 0};
    for (;;) {
        wait_for(channels, 2 + CONNECTIONS);
        if (channels[0].revents && !told())
            return 0;
        if (channels[1].revents) {
            int came = modbus_tcp_accept(line, &listener), at = 2;
            while (at < 2 + CONNECTIONS && channels[at].fd >= 0)
                at++;
            if (at == 2 + CONNECTIONS)
                close(came);
            else if (came >= 0)
                channels[at].fd = came;
        }
        for (int i = 2; i < 2 + CONNECTIONS; i++) {
            if (channels[i].fd < 0 || !channels[i].revents)
                continue;
            modbus_set_socket(line, channels[i].fd);
            if (!serve(line, 0)) {
                close(channels[i].fd);
                channels[i].fd = -1;
            }
        }
    }
}

int main(int count, char **words)
{
    for (int unit = 1; unit <= UNITS; unit++)
        if ((units[unit] = registers_of(unit)) == NULL)
            return 1;
    if (count == 2 && strcmp(words[1], "tcp") == 0)
        return on_network();
    if (count == 5 && strcmp(words[1], "rtu") == 0)
        return on_port(words[2], atoi(words[3]), atoi(words[4]));
    fprintf(stderr, "modbus_server tcp | rtu PATH BAUD UNIT\n");
    return 2;
}
