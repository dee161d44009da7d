#!/usr/bin/env perl
# Clients that do at random what buyers, hosts, doors, Stripe, the relay, cron and other code do, each on connections of
# its own, at the three isolation levels mixed: bare, where an error ends the transaction; caught in plpgsql; undone by
# ROLLBACK TO SAVEPOINT; several in one transaction. See usage.
use strict;
use warnings;
use DBI;
use DBD::Pg;
use Getopt::Long;
use JSON::PP;
use List::Util qw(max);
use Time::HiRes qw(time sleep);

my $usage = <<'TEXT';
usage: clients.pl --folder FOLDER [OPTION]...
  --clients N        (32)
  --seconds N        (10)
  --only NAME,...    these operations alone, bare and at READ COMMITTED
  --lossy            the server may go away: reconnect, and send what had no answer again
FOLDER gets N.outcomes and N.journal, for stress.outcomes and stress.journal. Connects by libpq's environment variables.
TEXT
my %option = (clients => 32, seconds => 10);
GetOptions(\%option, 'folder=s', 'clients=i', 'seconds=f', 'only=s', 'lossy') && $option{folder} && !@ARGV or die $usage;

my $users = 200;
my $patience = 60;    # seconds for the server to come back

# ---- one client

my ($me, $call, $desk);    # the calls go over one connection; what to call is looked up over the other
my ($journal, %count, @in_flight, @todo, %tiers, @events, $role);
my ($shape, $level);         # of the transaction under way
my $json = JSON::PP->new;

sub connection {
    my ($options) = @_;
    local $ENV{PGOPTIONS} = "-c statement_timeout=20s $options";
    return DBI->connect('dbi:Pg:', '', '', { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_server_prepare => 0 });
}

sub connect_all {
    my ($secret) = split ' ', $ENV{STRIPE_WEBHOOK_SECRET};
    for (my $end = time + $patience;;) {
        $role = 'none';
        last if eval {
            $call = connection('');
            $desk = connection("-c search_path=test,public -c test.webhook_secret=$secret");
            1;
        };
        die "cannot connect: $@" if !$option{lossy} || time > $end;
        sleep 0.02;
    }
}

# One value over the desk.
sub look_up { return scalar $desk->selectrow_array(shift, undef, @_) }

sub one_of { return $_[rand @_] }
sub random_uuid { return sprintf '%08x-%04x-4%03x-8%03x-%06x%06x', rand 2**32, rand 2**16, rand 2**12, rand 2**12, rand 2**24, rand 2**24 }
# Where to begin to look for any row: among ids that are random, or among the engine's own, which begin with their time.
sub any_id {
    my $id = random_uuid();
    return $id if rand() < 0.3;
    my $time = sprintf '%012x', 1000 * ($^T + rand(time - $^T + 1));
    return substr($time, 0, 8) . '-' . substr($time, 8) . substr($id, 13);
}
sub text { return $call->quote(shift) }
sub a_user { return text('user ' . int rand $users) }

# ---- what can be done: each says as which role, with which statement (of one value), what is journalled when it is
# committed, and, if it is not clear, what its answer says. undef: there is nothing to do.

my %operations = (
    hold => [20, \&hold], extend => [6, \&extend], release => [12, \&release], sweep => [2, \&sweep],
    claim => [8, \&claim], order => [7, \&order], relay => [6, \&relay], pay => [9, \&pay], decline => [1, \&decline],
    check_in => [6, \&check_in], availability => [4, \&availability], quote => [1, \&quote], order_status => [1, \&order_status],
    tier_capacity => [2, \&tier_capacity], event_capacity => [1, \&event_capacity],
    sell => [3, \&sell], void => [6, \&void], revive => [2, \&revive], move => [1, \&move], remove => [1, \&remove],
    rebuild => [0.1, \&rebuild], chores => [0.3, \&chores], inspect => [0.5, \&inspect]);

sub cart {
    my ($wanted) = @_;
    my @of_event;
    @of_event = grep { $wanted->($_) } @{ $tiers{ one_of(@events) } } until @of_event;
    my %quantity;
    $quantity{ one_of(@of_event)->{tier} } = rand() < 0.1 ? 5 + int rand 20 : 1 + int rand 4 for 1 .. 1 + int rand 3;
    my $items = $json->encode([map { { ticket_type_id => $_, quantity => $quantity{$_} } } keys %quantity]);
    return ($of_event[0]{event_id}, text($items), eval { my $sum = 0; $sum += $_ for values %quantity; $sum });
}

sub request_id { return text(random_uuid()) }

sub hold {
    my ($event, $items) = cart(sub { 1 });
    my $ttl = one_of('20 ms', '20 ms', '200 ms', '200 ms', '2 s', '2 s', '20 s');
    return {
        role => 'service_role', repeatable => 1, creates => sub { shift->{reservation_id} },
        statement => sprintf('SELECT ticketing.hold_tickets(%s, %s, %s, %s, %s)', a_user(), $event, $items, text($ttl), request_id()),
        journal => sub { ['held', shift->{reservation_id}] } };
}

# A hold of anybody's that has not ended, as arguments; rarely one that an order stands behind.
sub a_hold {
    my $condition = rand() < 0.9 ? 'order_id IS NULL' : 'true';
    return look_up(
        "SELECT format('%L, %L', reservation_id, user_id) FROM ticketing.ticket_holds WHERE status = 'active' AND $condition ORDER BY random() LIMIT 1");
}

sub extend {
    my $hold = a_hold() // return;
    return { role => 'service_role', statement => "SELECT ticketing.extend_hold($hold)", journal => sub { ['extended', $_[0]{reservation_id}, $_[0]{expires_at}] } };
}

sub release {
    my $hold = a_hold() // return;
    return {
        role => 'service_role', statement => "SELECT ticketing.release_hold($hold)",
        journal => sub { $_[0]{released} ? ['released', $_[0]{reservation_id}] : () },
        says => sub { $_[0]{released} ? 'released' : 'had ended' } };
}

sub sweep { return { role => 'dvnt_ticketing_cron', statement => sprintf('SELECT ticketing.release_expired_holds(%d)', one_of(1, 10, 10000)) } }

sub claim {
    my ($event, $items, $tickets) = cart(sub { shift->{price} == 0 });
    return {
        role => 'service_role', repeatable => 1, creates => sub { shift->{order_id} },
        statement => sprintf('SELECT ticketing.claim_free_tickets(%s, %s, %s, %s)', a_user(), $event, $items, request_id()),
        journal => sub { ['claimed', shift->{order_id}, $tickets] } };
}

sub order {
    my ($event, $items) = cart(sub { shift->{price} > 0 });
    my $arguments = sprintf '%s, %s, %s', a_user(), $event, $items;
    my $is_new = rand() < 0.5;
    if (!$is_new) {
        $arguments = look_up(q{SELECT format('%L, %s, NULL, %L', user_id, event_id, reservation_id) FROM ticketing.ticket_holds
                               WHERE status = 'active' AND expires_at > clock_timestamp() ORDER BY random() LIMIT 1}) // return;
    }
    return {
        role => 'service_role', repeatable => 1, creates => $is_new && sub { shift->{order_id} },
        statement => "SELECT ticketing.create_payment_intent($arguments, request_id => " . request_id() . ')',
        journal => sub { ['ordered', shift->{order_id}] } };
}

# Leases requests; their answers are brought by operations of their own.
sub relay {
    return {
        role => 'dvnt_ticketing_relay',
        statement => q{SELECT coalesce(jsonb_agg(jsonb_build_object('id', id, 'token', lease_token)), '[]') FROM ticketing.relay_claim(20, '2 seconds')},
        journal => sub { push @todo, map { complete($_) } @{ $_[0] }; () } };
}

sub complete {
    my ($leased) = @_;
    return sub {
        my $status = rand() < 0.1 ? one_of(0, 500) : 200;
        my $body = look_up('SELECT stress.answer(?)', $leased->{id}) // return;
        return {
            name => 'complete', role => 'dvnt_ticketing_relay',
            statement => sprintf(q{SELECT ticketing.relay_complete('%s', '%s', %d, '{}', '\\x%s')}, $leased->{id}, $leased->{token}, $status, unpack 'H*', $body),
            says => sub { shift } };
    };
}

# An order, whoever's.
sub an_order {
    my ($condition) = @_;
    return look_up("SELECT order_id FROM ticketing.orders WHERE order_id >= ? AND rail = 'payment_intent' AND $condition ORDER BY order_id LIMIT 1", any_id());
}

sub webhook {
    my ($order, $event_id, $type) = @_;
    my ($payload, $signature) = $desk->selectrow_array('SELECT payload, signature FROM stress.webhook(?, ?, ?)', undef, $order, $event_id, $type);
    return {
        role => 'service_role', statement => sprintf(q{SELECT ticketing.stripe_webhook('\\x%s', '%s')}, unpack('H*', $payload), $signature),
        journal => sub { $type eq 'succeeded' && $_[0]{outcome} eq 'applied' ? ['paid', $order] : () },
        says => sub { shift->{outcome} } };
}

# Also before the relay has told us of the PaymentIntent, and again.
sub pay {
    my $order = an_order(one_of(q{state = 'awaiting_payment' AND payment_intent_id IS NOT NULL}, q{state = 'awaiting_payment'}, 'true')) // return;
    return webhook($order, "evt_paid_$order", 'succeeded');
}

sub decline {
    my $order = an_order('true') // return;
    return webhook($order, 'evt_declined_' . random_uuid(), 'payment_failed');
}

my $last_scan;

sub check_in {
    my $scan = $last_scan;
    my $is_new = !$scan || rand() < 0.8;
    if ($is_new) {
        my ($event, $payload) = $desk->selectrow_array(
            'SELECT event_id, qr_payload FROM public.tickets WHERE id >= ? AND qr_payload IS NOT NULL ORDER BY id LIMIT 1', undef, any_id());
        return if !$payload;
        $scan = sprintf q{'%s', %d, 'host', 'device %d', '%s'}, $payload, $event, $me, random_uuid();
    }
    $last_scan = $scan;
    return {
        role => 'service_role', repeatable => 1, creates => $is_new && sub { shift->{checkin_id} },
        statement => "SELECT ticketing.check_in($scan)", says => sub { shift->{result} },
        journal => sub { ['scanned', $_[0]{checkin_id}, $_[0]{result}] } };
}

sub availability {
    my $figures = 'available < 0 OR held < 0 OR sold < 0 OR capacity IS NOT NULL AND available > greatest(0, capacity - held - sold)';
    return { role => 'anon', statement => sprintf(q{SELECT count(*) FILTER (WHERE %s) FROM ticketing.availability(%d)}, $figures, one_of(@events)),
        journal => sub { $_[0] ? finding("$_[0] wrong figures of availability") : () } };
}

sub quote {
    my ($event, $items) = cart(sub { 1 });
    return { role => 'authenticated', statement => "SELECT ticketing.quote($event, $items)" };
}

sub order_status {
    my $order = an_order('true') // return;
    my $user = look_up('SELECT user_id FROM ticketing.orders WHERE order_id = ?', $order);
    return { role => 'service_role', statement => sprintf('SELECT ticketing.order_status(%s, %s)', text($order), text($user)), says => sub { shift->{state} } };
}

# Around what is used, so that it stays short; or no limit.
sub tier_capacity {
    my $tier = one_of(map { @$_ } values %tiers);
    my $used = look_up('SELECT held + sold FROM ticketing.availability(?) WHERE ticket_type_id = ?', $tier->{event_id}, $tier->{tier});
    my $seats = rand() < 0.2 ? 'NULL' : max(0, $used - 3 + int rand 15);
    return { role => 'none', statement => "UPDATE public.ticket_types SET quantity_total = $seats WHERE id = '$tier->{tier}' RETURNING 'done'" };
}

sub event_capacity {
    my $event = one_of(@events);
    my $used = look_up('SELECT sum(held + sold) FROM ticketing.availability(?)', $event);
    my $seats = rand() < 0.2 ? 'NULL' : max(0, $used - 5 + int rand 40);
    return { role => 'none', statement => "UPDATE public.events SET max_attendees = $seats WHERE id = $event RETURNING 'done'" };
}

# ---- other code; what it sells has no payload, and that alone it moves, removes or makes valid again

sub sell {
    my $tier = one_of(map { @$_ } values %tiers);
    my $id = random_uuid();
    return {
        role => 'none', creates => sub { $id }, journal => sub { ['sold', $id] },
        statement => sprintf(q{INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, qr_token) VALUES ('%s', %d, '%s', %s, '%s') RETURNING 'done'},
            $id, $tier->{event_id}, $tier->{tier}, a_user(), $id) };
}

sub a_ticket {
    my ($condition) = @_;
    return look_up("SELECT id FROM public.tickets WHERE id >= ? AND $condition ORDER BY id LIMIT 1", any_id());
}

sub change_ticket {
    my ($condition, $change) = @_;
    my $ticket = a_ticket($condition) // return;
    return { role => 'none', statement => "UPDATE public.tickets SET $change WHERE id = '$ticket' RETURNING 'done'" };
}

# As many as are sold meanwhile, or everything would be sold out before long.
sub void {
    my $tickets = $desk->selectcol_arrayref(q{SELECT id FROM public.tickets WHERE id >= ? AND status IN ('active', 'scanned') ORDER BY id LIMIT ?}, undef, any_id(), 1 + int rand 8);
    return if !@$tickets;
    return { role => 'none', statement => sprintf(q{WITH ended AS (UPDATE public.tickets SET status = '%s' WHERE id IN (%s) RETURNING 1) SELECT count(*) FROM ended},
            one_of('void', 'refunded'), join ', ', map { "'$_'" } @$tickets) };
}

sub revive { return change_ticket(q{qr_payload IS NULL AND status IN ('void', 'refunded')}, q{status = 'active'}) }

sub move {
    return change_ticket('qr_payload IS NULL',
        q{ticket_type_id = (SELECT o.id FROM public.ticket_types o WHERE o.event_id = tickets.event_id ORDER BY random() LIMIT 1)});
}

sub remove {
    my $ticket = a_ticket('qr_payload IS NULL') // return;
    return { role => 'none', statement => "DELETE FROM public.tickets WHERE id = '$ticket' RETURNING 'done'", journal => sub { ['deleted', $ticket] } };
}

# ---- operators

sub rebuild { return { role => 'none', statement => 'SELECT ticketing.rebuild_stock(' . one_of(@events) . ')' } }

sub chores { return { role => 'dvnt_ticketing_cron', statement => 'SELECT ticketing.' . one_of('sync_quantity_sold', 'sweep_stripe', 'prune') . '()' } }

# What is seen at any instant must be right. (Not by a snapshot that is older than what this transaction has drawn since.)
sub finding {
    my ($what) = @_;
    return $level eq 'read committed' || $shape =~ /bare|caught/ ? ['finding', $what, "$shape at $level"] : ();
}

sub inspect {
    return {
        role => 'dvnt_ticketing_cron',
        statement => q{SELECT string_agg(concat_ws(' ', check_name, entity, detail), '; ') FROM ticketing.check_invariants() WHERE check_name <> 'oversold'},
        journal => sub { defined $_[0] ? finding($_[0]) : () } };
}

# ---- how it is done

sub counted {
    my ($operation, $outcome) = @_;
    $count{ join "\t", $operation->{name}, $shape, $level, $outcome }++;
}

# Sends a statement on the connection for calls; dies with 'lost' when that is gone.
sub execute {
    my ($statement) = @_;
    my @row = eval { $statement =~ /^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|SET|RESET)/ ? $call->do($statement) : $call->selectrow_array($statement) };
    return ('ok', @row) if !$@;
    my ($error, $state, $detail) = ($@, $call->state, $call->pg_error_field('detail') // '');
    die "lost\n" if $call->ping < 1;
    return "$state $1" if $state =~ /^PT/ && $detail =~ /"reason": "(\w+)"/;
    return $state if $state =~ /^(40001|40P01|55P03)$/;
    return "$state " . $error =~ s/\s+/ /gr;
}

sub must { my ($outcome) = execute(shift); die "$outcome\n" if $outcome ne 'ok'; }

# Makes a call, and says what came of it.
sub perform {
    my ($operation) = @_;
    my ($outcome, $answer) =
        $shape eq 'caught'
        ? do { my ($sent, $caught, $value) = execute('SELECT outcome, answer FROM stress.caught(' . text($operation->{statement}) . ')'); $sent eq 'ok' ? ($caught, $value) : $sent }
        : execute($operation->{statement});
    if ($outcome eq 'ok') {
        $answer = $json->decode($answer) if defined $answer && $answer =~ /^[\[{]/;
        $outcome = 'ok ' . $operation->{says}->($answer) if $operation->{says};
    }
    return ($outcome, $answer);
}

sub take_role {
    my ($operation) = @_;
    return if $role eq $operation->{role};
    must("SET ROLE $operation->{role}");
    $role = $operation->{role};
}

sub note { print {$journal} join("\t", $_[0][0], $_[0][1], $_[0][2] // ''), "\n" or die "journal: $!" }

# What is committed for certain is written down.
sub committed {
    my ($operation, $answer) = @_;
    note($_) for $operation->{journal} ? $operation->{journal}->($answer) : ();
}

# One call in a transaction of its own.
sub alone {
    my ($operation) = @_;
    take_role($operation);
    my $begun = $level ne 'read committed';
    if ($begun) {
        must("BEGIN ISOLATION LEVEL $level");
        if (rand() < 0.5) { must('SELECT count(*) FROM pg_class'); sleep rand 0.005; }
    }
    my ($outcome, $answer) = perform($operation);
    if ($begun) {
        my ($end) = execute($outcome =~ /^ok/ || $shape eq 'caught' ? 'COMMIT' : 'ROLLBACK');
        $outcome = $end if $end ne 'ok';
    }
    counted($operation, $outcome);
    committed($operation, $answer) if $outcome =~ /^ok/;
}

# Several calls in one transaction, which sometimes is rolled back; or the first of them undone.
sub together {
    my @operations = @_;
    my @done;
    must("BEGIN ISOLATION LEVEL $level");
    for my $operation (@operations) {
        my $undo = $shape eq 'undone' && $operation == $operations[0];
        must('SAVEPOINT here') if $undo;
        must("SET LOCAL ROLE $operation->{role}");
        my ($outcome, $answer) = perform($operation);
        if ($undo) {
            must('ROLLBACK TO SAVEPOINT here');
            push @done, [$operation, $answer, $outcome =~ /^ok/ ? 'undone' : $outcome];
        }
        else {
            push @done, [$operation, $answer, $outcome];
            last if $outcome !~ /^ok/;
        }
    }
    my $failed = $done[-1][2] !~ /^(ok|undone)/;
    my $back = $failed || $shape eq 'several' && rand() < 0.2;
    my ($end) = execute($back ? 'ROLLBACK' : 'COMMIT');
    for my $done (@done) {
        my ($operation, $answer, $outcome) = @$done;
        $outcome = $end ne 'ok' ? $end : 'rolled back' if $outcome =~ /^ok/ && ($back || $end ne 'ok');
        counted($operation, $outcome);
        committed($operation, $answer) if $outcome =~ /^ok/;
        note(['undone', $operation->{creates}->($answer)]) if $outcome =~ /^(undone|rolled back)/ && $operation->{creates};
    }
    $role = '';    # SET LOCAL has ended, and so has a SET that was rolled back
    must('RESET ROLE');
    $role = 'none';
}

my (@names, $first);

sub some_operation {
    if (my $next = shift @todo) {
        my $operation = $next->();
        return $operation if $operation;
    }
    for (;;) {
        my $name = $first // one_of(@names);
        undef $first;
        my $operation = $operations{$name}[1]->();
        if ($operation) { $operation->{name} //= $name; return $operation; }
        counted({ name => $name }, 'nothing to do');
    }
}

sub iterate {
    my $plain = $option{only} || $first;
    my $roll = $plain ? 0 : rand;
    $shape = $roll < 0.45 ? 'bare' : $roll < 0.8 ? 'caught' : $roll < 0.9 ? 'undone' : 'several';
    $level = $plain ? 'read committed' : one_of('read committed', 'read committed', 'repeatable read', 'serializable');
    @in_flight = ();
    push @in_flight, some_operation() for 1 .. ($shape =~ /undone|several/ ? 2 : 1);
    $shape =~ /undone|several/ ? together(@in_flight) : alone(@in_flight);
    @in_flight = ();
}

# Sends again what may have been committed without our knowing; the same request id makes it one effect.
sub send_again {
    ($shape, $level) = ('again', 'read committed');
    while (my $operation = $in_flight[0]) {
        if ($operation->{repeatable}) { alone($operation) }
        shift @in_flight;
    }
}

sub client {
    my $end = time + $option{seconds};
    srand;
    open $journal, '>', "$option{folder}/$me.journal" or die "$option{folder}: $!";
    $journal->autoflush(1);
    connect_all();
    my $for_sale;
    until ($for_sale = eval { $desk->selectall_arrayref('SELECT * FROM stress.tiers', { Slice => {} }) }) {
        die $@ if !$option{lossy};
        connect_all();    # the server was killed before we had begun
    }
    push @{ $tiers{ $_->{event_id} } }, $_ for @$for_sale;
    @events = keys %tiers;
    my @chosen = $option{only} ? split /,/, $option{only} : sort keys %operations;
    @names = map { my $name = $_; ($name) x ($operations{$name}[0] * 10) } @chosen;
    $first = $chosen[$me % @chosen];    # each has its turn, however short the run
    while (time < $end || @in_flight) {
        next if eval { @in_flight ? send_again() : iterate(); 1 };
        my $error = $@;
        my $lost = $option{lossy} && ($error eq "lost\n" || $desk->ping < 1);
        die "client $me, $shape at $level, " . join(', ', map { $_->{statement} } @in_flight) . ": $error" if !$lost;
        counted($_, 'lost') for @in_flight;
        connect_all();
    }
    open my $outcomes, '>', "$option{folder}/$me.outcomes" or die "$option{folder}: $!";
    print {$outcomes} "$_\t$count{$_}\n" for sort keys %count;
    close $outcomes or die "$option{folder}: $!";
}

# ---- all of them

my @children;
$SIG{TERM} = $SIG{INT} = sub { kill 'TERM', @children; exit 1 };
for (1 .. $option{clients}) {
    my $child = fork // die "fork: $!";
    if ($child == 0) {
        $SIG{TERM} = $SIG{INT} = 'DEFAULT';
        $me = $_;
        client();
        exit 0;
    }
    push @children, $child;
}
my $failed = 0;
for (@children) { waitpid $_, 0; $failed ||= $?; }
exit($failed ? 1 : 0);
