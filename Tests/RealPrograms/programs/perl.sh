# Hashes, regular expressions, sorting, strings that grow and shrink, closures.
packages='perl'
executables='perl'
limit=60

prepare() { :; }

run() {
  perl -e '
    use strict; use warnings;
    my ($seed, %count, @rows) = (42);
    my $next = sub { $seed = ($seed * 1103515245 + 12345) % 2147483648 };
    for my $i (1 .. 100_000) {
      my $word = sprintf "%x-%s", $next->() % 4096, "x" x ($next->() % 40);
      $count{$word}{total} += $i;
      push @{ $count{$word}{list} }, $i if $i % 3 == 0;
    }
    @rows = sort { $count{$b}{total} <=> $count{$a}{total} || $a cmp $b } keys %count;
    print scalar(@rows), " $rows[0] $count{$rows[0]}{total}\n";
    my $text = join ",", map { "$_=" . scalar @{ $count{$_}{list} || [] } } @rows[0 .. 9999];
    my $digits = 0;
    $digits += length $1 while $text =~ /(\d+)=/g;
    (my $short = $text) =~ s/x{3,}/X/g;
    print length($text), " ", length($short), " $digits\n";
    my @parts = split /,/, $short;
    delete @count{ grep { /-x{20,}$/ } keys %count };
    print scalar(@parts), " ", scalar(keys %count), " ", unpack("%32C*", $text), "\n";
  '
}
