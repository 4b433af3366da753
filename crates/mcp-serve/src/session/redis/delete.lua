local used = times()
close()
return { 'ended', used, ends, now }
