# Word pairs in nested hashes, a text rewritten, closures and forks.
# needs: perl
# exit: 4
perl "$REPOSITORY/traces/programs/words.pl"
cat "$REPOSITORY"/csrc/*/*.[ch] >text
perl -0777 -pe 's/\b([a-z_]+)(\s*)\(/$2 . uc($1) . "<"/ge; s/(\w+)\s+(\w+)/$2 $1/g' text | sha256sum
perl -ne '$n{$_}++ for /\w+/g; END { print "$_ $n{$_}\n" for (sort { $n{$b} <=> $n{$a} || $a cmp $b } keys %n)[0 .. 9] }' text
perl -e '
  my @made = map { my $n = $_; sub { my @list = (1 .. $n % 100); join ",", map { $_ * $n } grep { $_ % 3 } @list } } 1 .. 20000;
  my $length = 0; $length += length $_->() for @made; print "$length\n";
  for (1 .. 8) { my $child = fork; if (!$child) { @made = (); exit $_ } waitpid $child, 0; print $? >> 8, "\n" }'
echo "Now one that fails."
perl -e 'use strict; my %h = (a => 1); $! = 4; die "as it should\n"'
