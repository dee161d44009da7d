#!/usr/bin/env perl
# A session that stands in for a relay at the doorbell (src/relay/doorbell.c) and finds nothing to claim: it listens and
# looks as a relay does. Without --sleep it never goes to sleep; with it, it does whenever it may. Says "ready" once it
# is where it wants to be, and at SIGTERM how often it was rung and how often it went to sleep.
use strict;
use warnings;
use DBI;
use DBD::Pg;
use Time::HiRes qw(time);

my $may_sleep = @ARGV && $ARGV[0] eq '--sleep';
my ($linger, $interval, $interval_most, $poll) = (0.05, 0.01, 0.05, 1);

my $db = DBI->connect('dbi:Pg:', '', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
my $lock = $db->prepare('SELECT pg_try_advisory_lock_shared(1685454850, 0)');
my $unlock = $db->prepare('SELECT pg_advisory_unlock_shared(1685454850, 0)');
my $look = $db->prepare(q{SELECT id FROM ticketing.stripe_requests WHERE state = 'ready' ORDER BY lane, seq LIMIT 1});
my ($asleep, $rung, $sleeps, $ended) = (0, 0, 0, 0);
my ($pause, $linger_until, $look_at) = ($interval, time + $linger, 0);

sub value {
    my ($statement) = @_;
    $statement->execute;
    my ($value) = $statement->fetchrow_array;
    $statement->finish;
    return $value;
}

# Rings that have come, all of them.
sub take_rings {
    my $count = 0;
    $count++ while $db->pg_notifies;
    $rung += $count;
    return $count;
}

sub wake {
    value($unlock) if $asleep;
    ($asleep, $pause, $linger_until) = (0, $interval, time + $linger);
}

sub look {
    my $trying = !$asleep && $may_sleep && time >= $linger_until;
    my $locked = $trying && value($lock);
    defined value($look) and die "there is something to claim\n";
    if ($asleep || $locked) {
        $sleeps += $locked ? 1 : 0;
        ($asleep, $look_at) = (1, time + $poll);
    } else {
        $look_at = time + $pause;
        $pause += $interval if $trying && $pause < $interval_most;
    }
}

$SIG{TERM} = sub { $ended = 1 };
$| = 1;
$db->do('LISTEN dvnt_ticketing_stripe');
my $ready = 0;
until ($ended) {
    if (take_rings()) {
        wake();
        look();
    } elsif (time >= $look_at) {
        look();
    }
    if (!$ready && $asleep == $may_sleep) {
        print "ready\n";
        $ready = 1;
    }
    my $pause = $look_at - time;
    vec(my $readable = '', $db->{pg_socket}, 1) = 1;
    select $readable, undef, undef, $pause if $pause > 0;
}
take_rings();
print "rung\t$rung\nsleeps\t$sleeps\n";
